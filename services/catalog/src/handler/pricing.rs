//! What trades and baskets cost, list prices and promotions.

use contracts::{
    catalog::v1::{self as proto, PriceChanged, catalog_event::Event, pricing_service_server::PricingService},
    r#type::v1::Amount,
};
use kit::{Error, Timestamp, amount, call::Call};
use storage::{Key, page::page_size};
use tonic::{Request, Response, Status};

use super::Reply;
use crate::{
    Service,
    assets::CURRENCY,
    message::{self, invalid},
    product::ListPrice,
    purchase::{Basket, Promotion, Purchase},
    quote::{Quote, Side},
    store::{goods, prices},
    token,
};

#[tonic::async_trait]
impl PricingService for Service {
    async fn create_quote(
        &self,
        request: Request<proto::CreateQuoteRequest>,
    ) -> Result<Response<proto::CreateQuoteResponse>, Status> {
        let (call, request) = (Call::current()?, request.into_inner());
        let quote = self.quote(message::side(request.side)?, request.quantity, "quantity").await?;
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
        let mut quote = self.quote(message::side(request.side)?, request.quantity, "market_trade.quantity").await?;
        if let Some(limit) = &request.limit_price {
            quote = quote.within(message::limit(limit)?)?;
        }
        Ok(Response::new(proto::PriceTradeResponse { quote: Some(message::quote(&quote, String::new())) }))
    }

    async fn create_purchase_quote(
        &self,
        request: Request<proto::CreatePurchaseQuoteRequest>,
    ) -> Reply<proto::CreatePurchaseQuoteResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let purchase = self.purchase(request.basket).await?;
        let token = self.0.signer.sign_purchase(&purchase, call.user()?, rand::random());
        let quote = Some(message::purchase(&purchase, token)?);
        Ok(Response::new(proto::CreatePurchaseQuoteResponse { quote }))
    }

    async fn verify_purchase_quote(
        &self,
        request: Request<proto::VerifyPurchaseQuoteRequest>,
    ) -> Reply<proto::VerifyPurchaseQuoteResponse> {
        let request = request.into_inner();
        let frozen = self.0.signer.open_purchase(&request.token, &request.owner_id)?;
        let seen = self.0.shelf.look(&self.0.db, frozen.variants()).await?;
        let purchase = frozen.thaw(&seen.offers)?;
        purchase.holds(self.0.db.clock().now())?;
        let quote_id = token::id(&request.token);
        let quote = Some(message::purchase(&purchase, request.token)?);
        Ok(Response::new(proto::VerifyPurchaseQuoteResponse { quote, quote_id }))
    }

    async fn price_purchase(
        &self,
        request: Request<proto::PricePurchaseRequest>,
    ) -> Reply<proto::PricePurchaseResponse> {
        let purchase = self.purchase(request.into_inner().basket).await?;
        let quote = Some(message::purchase(&purchase, String::new())?);
        Ok(Response::new(proto::PricePurchaseResponse { quote }))
    }

    async fn list_list_prices(
        &self,
        request: Request<proto::ListListPricesRequest>,
    ) -> Reply<proto::ListListPricesResponse> {
        let variant = request.into_inner().variant_id;
        let found = self.0.db.snapshot(async |session| {
            goods::product_of(session, &variant).await?;
            prices::list(session, &variant).await
        });
        let list_prices = found.await?.iter().map(message::list_price).collect();
        Ok(Response::new(proto::ListListPricesResponse { list_prices }))
    }

    async fn update_list_price(
        &self,
        request: Request<proto::UpdateListPriceRequest>,
    ) -> Reply<proto::UpdateListPriceResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let key = Key::of(&call, &request.request_id, &request);
        let asked = request.amount.ok_or_else(|| invalid("amount", "is missing"))?;
        let ((currency, atoms), platform) = (self.money(&asked, "amount").await?, self.currency(CURRENCY).await?);
        let (variant_id, etag) = (request.variant_id, request.etag);
        let reply = self.0.db.once(key, async |unit| {
            let now = unit.now();
            let start_time = request.start_time.as_ref().map_or(now, Timestamp::from_proto);
            if start_time < now {
                return Err(invalid("start_time", "must not be in the past; leave it out for now"));
            }
            let product = goods::load_of_variant(unit, &variant_id).await?;
            product.check_etag(&etag)?;
            let mut product = product.priced(&variant_id, now)?;
            if start_time > now {
                prices::check_room(unit, &variant_id).await?;
            } else if currency == platform {
                product.show_price(&variant_id, atoms);
            }
            goods::insert_prices(unit, &[(&variant_id, &currency.code, atoms)], start_time).await?;
            goods::save(unit, &product).await?;
            let (variant_id, currency) = (variant_id.clone(), currency.clone());
            let list_price = Some(message::list_price(&ListPrice { variant_id, currency, atoms, start_time }));
            let event = Event::PriceChanged(PriceChanged { list_price: list_price.clone() });
            goods::publish(unit, &product, &platform, event)?;
            Ok(proto::UpdateListPriceResponse { list_price })
        });
        Ok(Response::new(reply.await?))
    }

    async fn list_promotions(
        &self,
        request: Request<proto::ListPromotionsRequest>,
    ) -> Reply<proto::ListPromotionsResponse> {
        const LIST: &str = "promotions";

        let request = request.into_inner();
        let (after, size) = (self.0.pages.after(&request.page_token, LIST)?, page_size(request.page_size)?);
        let load = async |session: &mut storage::Session| {
            prices::list_promotions(session, (after.0, &after.1), size + 1).await
        };
        let found = self.0.db.read(load).await?;
        let (found, next_page_token) = self.0.pages.cut(found, size, LIST, |one| (one.create_time, &one.id));
        let promotions = found.iter().map(message::promotion).collect();
        Ok(Response::new(proto::ListPromotionsResponse { promotions, next_page_token }))
    }

    async fn create_promotion(
        &self,
        request: Request<proto::CreatePromotionRequest>,
    ) -> Reply<proto::CreatePromotionResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let key = Key::of(&call, &request.request_id, &request);
        let reply = self.0.db.once(key, async |unit| {
            let promotion = announced(&request, unit.now())?;
            if let Some(category) = &promotion.category {
                goods::category_title(unit, category).await?.ok_or_else(|| goods::no_category("category"))?;
            }
            prices::insert_promotion(unit, &promotion).await?;
            Ok(proto::CreatePromotionResponse { promotion: Some(message::promotion(&promotion)) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn end_promotion(&self, request: Request<proto::EndPromotionRequest>) -> Reply<proto::EndPromotionResponse> {
        let (call, request) = (Call::current()?, request.into_inner());
        let key = Key::of(&call, &request.request_id, &request);
        let reply = self.0.db.once(key, async |unit| {
            let now = unit.now();
            let promotion = prices::promotion_for_update(unit, &request.id).await?.ended(now)?;
            prices::set_end(unit, &promotion).await?;
            Ok(proto::EndPromotionResponse { promotion: Some(message::promotion(&promotion)) })
        });
        Ok(Response::new(reply.await?))
    }
}

impl Service {
    /// Prices a trade at this moment. The quantity stands in this field of the caller's request.
    async fn quote(&self, side: Side, quantity: Option<Amount>, field: &str) -> Result<Quote, Error> {
        let quantity = quantity.ok_or_else(|| message::invalid(field, "is missing"))?;
        let at = |refusal: Error| refusal.at_amount(field);
        let (unit, currency) = (self.unit(&quantity.unit).await.map_err(at)?, self.unit(CURRENCY).await?);
        let atoms =
            amount::parse(&quantity.value, unit.scale).map_err(|refusal| at(refusal.with("unit", &quantity.unit)))?;
        let market = self.0.market.tick(&unit.code);
        let quote =
            Quote::new(side, (atoms, &unit), &currency, market.as_ref(), &self.0.terms, self.0.db.clock().now());
        quote.map_err(at)
    }

    /// Prices a basket at this moment.
    async fn purchase(&self, basket: Option<proto::Basket>) -> Result<Purchase, Error> {
        let settings = &self.0.settings;
        let basket = basket.ok_or_else(|| invalid("basket", "is missing"))?;
        let or = |asked: String, default: &str| if asked.is_empty() { default.to_owned() } else { asked };
        let currency = self.currency(&or(basket.currency, CURRENCY)).await;
        let currency = currency.map_err(|refusal| refusal.at("basket.currency"))?;
        let country = self.0.rates.country(&or(basket.country_code, &settings.country))?;
        let items = basket.items.into_iter().map(|item| (item.variant_id, item.quantity));
        let code = basket.promotion_code.trim().to_uppercase();
        let basket = Basket::new(items, currency, code)?;
        let seen = self.0.shelf.look(&self.0.db, basket.items.iter().map(|(variant, _)| variant.as_str())).await?;
        let (lifetime, now) = (settings.purchase_quote_lifetime, self.0.db.clock().now());
        Purchase::new(&basket, &seen.offers, &seen.promotions, country, lifetime, now)
    }
}

/// The promotion that a request describes.
fn announced(request: &proto::CreatePromotionRequest, now: Timestamp) -> Result<Promotion, Error> {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let start_time = request.start_time.as_ref().map_or(now, Timestamp::from_proto);
    let end_time = request.end_time.as_ref().map(Timestamp::from_proto);
    if end_time.is_some_and(|end| end <= start_time.max(now)) {
        return Err(invalid("end_time", "must be after `start_time`, and not in the past"));
    }
    Ok(Promotion {
        id: kit::id::new("prm", now),
        title: request.title.clone(),
        discount_bps: request.discount_bps.into(),
        category: some(&request.category),
        code: some(&request.code),
        start_time,
        end_time,
        create_time: now,
    })
}
