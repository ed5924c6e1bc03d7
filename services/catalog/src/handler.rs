//! Each RPC: parse, load, decide, reply.

use std::collections::BTreeSet;

use contracts::{
    catalog::v1::{
        self as proto, category_service_server::CategoryService, market_data_service_server::MarketDataService,
        pricing_service_server::PricingService, product_service_server::ProductService,
    },
    r#type::v1::{Amount, Reason},
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use kit::{Error, amount, call::Call};
use storage::page::page_size;
use tonic::{Request, Response, Status};

use crate::{
    Service,
    assets::CURRENCY,
    message,
    product::{Query, Unit, UnitKind},
    quote::{Quote, Side},
    store, token,
};

#[tonic::async_trait]
impl ProductService for Service {
    async fn get_product(
        &self,
        request: Request<proto::GetProductRequest>,
    ) -> Result<Response<proto::GetProductResponse>, Status> {
        let id = request.into_inner().id;
        let found = self.0.db.read(async |session| store::product(session, &id).await).await?;
        let product = found.ok_or_else(|| {
            let message = format!("There is no product `{id}`.");
            Error::new(Reason::ResourceNotFound, message).with("resource", &id)
        })?;
        Ok(Response::new(proto::GetProductResponse { product: Some(message::product(product)) }))
    }

    async fn list_products(
        &self,
        request: Request<proto::ListProductsRequest>,
    ) -> Result<Response<proto::ListProductsResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let scope = format!("products {}", request.category);
        let after = self.0.pages.decode(&request.page_token, &scope)?.and_then(|keys| keys.into_iter().next());
        let after = after.unwrap_or_default();
        let load =
            async |session: &mut storage::Session| store::products(session, &request.category, &after, size + 1).await;
        let mut found = self.0.db.read(load).await?;
        // One more than asked for tells whether there is a next page.
        let more = i64::try_from(found.len()).is_ok_and(|count| count > size);
        if more {
            found.pop();
        }
        let last = found.last().filter(|_| more);
        let next_page_token = last.map(|last| self.0.pages.encode(&scope, std::slice::from_ref(&last.unit.code)));
        Ok(Response::new(proto::ListProductsResponse {
            products: found.into_iter().map(message::product).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn search_products(
        &self,
        request: Request<proto::SearchProductsRequest>,
    ) -> Result<Response<proto::SearchProductsResponse>, Status> {
        let request = request.into_inner();
        let (query, size) = (Query::parse(&request.query)?, page_size(request.page_size)?);
        let found = self.0.db.read(async |session| store::search(session, &query, size).await).await?;
        let products = found.into_iter().map(message::product).collect();
        Ok(Response::new(proto::SearchProductsResponse { products }))
    }

    async fn list_units(
        &self,
        _request: Request<proto::ListUnitsRequest>,
    ) -> Result<Response<proto::ListUnitsResponse>, Status> {
        let units = self.0.db.read(store::units).await?;
        Ok(Response::new(proto::ListUnitsResponse { units: units.into_iter().map(message::unit).collect() }))
    }
}

#[tonic::async_trait]
impl CategoryService for Service {
    async fn list_categories(
        &self,
        _request: Request<proto::ListCategoriesRequest>,
    ) -> Result<Response<proto::ListCategoriesResponse>, Status> {
        let found = self.0.db.read(store::categories).await?;
        let categories = found.into_iter().map(message::category).collect();
        Ok(Response::new(proto::ListCategoriesResponse { categories }))
    }
}

#[tonic::async_trait]
impl MarketDataService for Service {
    async fn get_ticker(
        &self,
        request: Request<proto::GetTickerRequest>,
    ) -> Result<Response<proto::GetTickerResponse>, Status> {
        let code = request.into_inner().unit;
        let tick = self.0.market.tick(&code).ok_or_else(|| {
            let message = format!("There is no price of `{code}`.");
            Error::new(Reason::ResourceNotFound, message).with("resource", &code)
        })?;
        Ok(Response::new(proto::GetTickerResponse { ticker: Some(message::ticker(&tick)) }))
    }

    async fn list_tickers(
        &self,
        request: Request<proto::ListTickersRequest>,
    ) -> Result<Response<proto::ListTickersResponse>, Status> {
        let units = self.known(request.into_inner().units).await?;
        let ticks = self.0.market.ticks(&units);
        Ok(Response::new(proto::ListTickersResponse { tickers: ticks.iter().map(message::ticker).collect() }))
    }

    type WatchTickersStream = BoxStream<'static, Result<proto::WatchTickersResponse, Status>>;

    async fn watch_tickers(
        &self,
        request: Request<proto::WatchTickersRequest>,
    ) -> Result<Response<Self::WatchTickersStream>, Status> {
        let units = self.known(request.into_inner().units).await?;
        let permit = self.permit(&Call::current()?)?;
        let watch = self.0.market.watch(units, self.0.db.clock().clone(), self.0.settings.watch_age_max);
        let stream = stream::unfold((watch, permit), |(mut watch, permit)| async move {
            let ticks = watch.next().await?;
            let reply = proto::WatchTickersResponse { tickers: ticks.iter().map(message::ticker).collect() };
            Some((Ok(reply), (watch, permit)))
        });
        Ok(Response::new(stream.boxed()))
    }
}

#[tonic::async_trait]
impl PricingService for Service {
    async fn create_quote(
        &self,
        request: Request<proto::CreateQuoteRequest>,
    ) -> Result<Response<proto::CreateQuoteResponse>, Status> {
        let (call, request) = (Call::current()?, request.into_inner());
        let quote = self.quote(message::side(request.side)?, request.quantity).await?;
        let token = self.0.signer.sign(&quote, call.user()?, rand::random());
        Ok(Response::new(proto::CreateQuoteResponse { quote: Some(message::quote(&quote, token)) }))
    }

    async fn verify_quote(
        &self,
        request: Request<proto::VerifyQuoteRequest>,
    ) -> Result<Response<proto::VerifyQuoteResponse>, Status> {
        let request = request.into_inner();
        let quote = self.0.signer.open(&request.token, &request.owner_id)?;
        let slippage = u32::try_from(request.max_slippage_bps)
            .map_err(|_| message::invalid("max_slippage_bps", "must not be negative"))?;
        let market = self.0.market.tick(&quote.unit.code);
        quote.holds(market.as_ref(), slippage, &self.0.terms, self.0.db.clock().now())?;
        let quote_id = token::id(&request.token);
        let quote = Some(message::quote(&quote, request.token));
        Ok(Response::new(proto::VerifyQuoteResponse { quote, quote_id }))
    }

    async fn price_trade(
        &self,
        request: Request<proto::PriceTradeRequest>,
    ) -> Result<Response<proto::PriceTradeResponse>, Status> {
        let request = request.into_inner();
        let mut quote = self.quote(message::side(request.side)?, request.quantity).await?;
        if let Some(limit) = &request.limit_price {
            quote = quote.within(message::limit(limit)?)?;
        }
        Ok(Response::new(proto::PriceTradeResponse { quote: Some(message::quote(&quote, String::new())) }))
    }
}

impl Service {
    /// Prices a trade at this moment.
    async fn quote(&self, side: Side, quantity: Option<Amount>) -> Result<Quote, Error> {
        let quantity = quantity.ok_or_else(|| message::invalid("quantity", "is missing"))?;
        let (unit, currency) = (self.unit(&quantity.unit).await?, self.unit(CURRENCY).await?);
        let atoms =
            amount::parse(&quantity.value, unit.scale).map_err(|refusal| refusal.with("unit", &quantity.unit))?;
        let market = self.0.market.tick(&unit.code);
        Quote::new(side, (atoms, &unit), &currency, market.as_ref(), &self.0.terms, self.0.db.clock().now())
    }

    async fn unit(&self, code: &str) -> Result<Unit, Error> {
        let known = self.0.units.get(code).await?;
        let kind = if known.fiat { UnitKind::Fiat } else { UnitKind::Asset };
        Ok(Unit { code: code.to_owned(), kind, scale: known.scale })
    }

    /// These codes, each of which is that of a unit.
    ///
    /// # Errors
    /// `UNIT_MISMATCH` if there is one that nobody knows.
    async fn known(&self, codes: Vec<String>) -> Result<BTreeSet<String>, Error> {
        for code in &codes {
            self.0.units.get(code).await?;
        }
        Ok(codes.into_iter().collect())
    }

    /// Opens a stream for the caller. Those without a user share the allowance of whoever brings them.
    fn permit(&self, call: &Call) -> Result<crate::market::Permit, Error> {
        let settings = &self.0.settings;
        let each = if call.caller.is_some() { settings.watches_per_user } else { settings.watches_max / 2 };
        self.0.watches.open(&call.principal(), each, settings.watches_max)
    }
}
