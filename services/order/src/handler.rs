//! The RPCs: parse, load, decide, save, reply. No rule and no SQL.

use contracts::{
    catalog::v1::{
        self as catalog, PriceTradeRequest, VerifyQuoteRequest, pricing_service_client::PricingServiceClient,
    },
    order::v1::{self as api, create_order_request::Order as Asked, order_service_server::OrderService},
    r#type::v1::Reason,
};
use futures::stream::BoxStream;
use kit::{Call, Error, Scope};
use storage::{Begun, Key, Session, Unit, page};
use tonic::{Request, Response, Status};

use crate::{
    Service,
    order::{Order, State, Trade},
    proto, settle,
    store::{self, Open},
    watch,
};

/// How many changes one reply lists.
const CHANGES: i64 = 200;

#[tonic::async_trait]
impl OrderService for Service {
    async fn create_order(
        &self,
        request: Request<api::CreateOrderRequest>,
    ) -> Result<Response<api::CreateOrderResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let owner = call.user()?;
        let key = Key::of(&call, &request.request_id, &request);
        let request_key = key.as_ref().map(Key::to_text);
        // Asked before anything is stored. What it refuses counts only if the key is free: a repeat gets its reply even
        // if the quote has expired since.
        let quoted = self.quote(owner, request.order).await;
        let begun = self.0.db.begin(key, async |unit: &mut Unit| {
            let (trade, quote_id) = quoted?;
            let id = kit::id::new("ord", unit.now());
            let (order, facts) = Order::place(id, owner.to_owned(), trade, quote_id, unit.now());
            let open = Open { order, request_key };
            let lease_until = unit.now() + self.0.settings.reconcile_after;
            if store::insert(unit, &open, facts, lease_until).await? {
                return Ok(open);
            }
            Err(Error::new(Reason::QuoteInvalid, "The quote was used for another order. Ask for a new one."))
        });
        let open = match begun.await? {
            Begun::Started(open) => open,
            Begun::Finished(reply) => return Ok(Response::new(reply)),
        };
        let order = Some(proto::order(&self.settle(&call, open).await?));
        Ok(Response::new(api::CreateOrderResponse { order }))
    }

    async fn get_order(
        &self,
        request: Request<api::GetOrderRequest>,
    ) -> Result<Response<api::GetOrderResponse>, Status> {
        let order = self.load(&Call::current()?.scope()?, &request.into_inner().id).await?;
        Ok(Response::new(api::GetOrderResponse { order: Some(proto::order(&order)) }))
    }

    async fn list_orders(
        &self,
        request: Request<api::ListOrdersRequest>,
    ) -> Result<Response<api::ListOrdersResponse>, Status> {
        let request = request.into_inner();
        let scope = Call::current()?.scope()?;
        let size = page::page_size(request.page_size)?;
        let state = state(request.state());
        let list = format!("orders of {} in {}", scope.owner().unwrap_or("everyone"), request.state);
        let after = self.0.tokens.decode(&request.page_token, &list)?;
        let before = after.as_ref().and_then(|keys| keys.first()).map(String::as_str);
        // One more than the page, to learn whether there is another.
        let read = async |session: &mut Session| store::list(session, &scope, state, before, size + 1).await;
        let mut found = self.0.db.read(read).await?;
        let size = usize::try_from(size).map_err(Error::internal)?;
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => self.0.tokens.encode(&list, std::slice::from_ref(&last.id)),
            _ => String::new(),
        };
        let orders = found.iter().map(proto::order).collect();
        Ok(Response::new(api::ListOrdersResponse { orders, next_page_token }))
    }

    async fn list_order_changes(
        &self,
        request: Request<api::ListOrderChangesRequest>,
    ) -> Result<Response<api::ListOrderChangesResponse>, Status> {
        let request = request.into_inner();
        let order = self.load(&Call::current()?.scope()?, &request.id).await?;
        let read =
            async |session: &mut Session| storage::history(session, &order.id, request.after_sequence, CHANGES).await;
        let changes = self.0.db.read(read).await?;
        let changes = changes.iter().map(proto::change).collect::<Result<_, Error>>()?;
        Ok(Response::new(api::ListOrderChangesResponse { changes }))
    }

    type WatchOrderStream = BoxStream<'static, Result<api::WatchOrderResponse, Status>>;

    async fn watch_order(
        &self,
        request: Request<api::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let order = self.load(&call.scope()?, &request.id).await?;
        let seat = self.0.seats.take(&call.principal())?;
        Ok(Response::new(watch::order(self.clone(), order, request.after_sequence, seat)))
    }
}

impl Service {
    async fn load(&self, scope: &Scope, id: &str) -> Result<Order, Error> {
        let found = self.0.db.read(async |session: &mut Session| store::load(session, scope, id).await).await?;
        found.ok_or_else(|| {
            let message = format!("There is no order {id}, or it is not yours.");
            Error::new(Reason::ResourceNotFound, message).with("resource", id)
        })
    }

    /// What the catalog says about the trade: by the quote, or at the price of the moment.
    async fn quote(&self, owner: &str, asked: Option<Asked>) -> Result<(Trade, Option<String>), Error> {
        let mut catalog = PricingServiceClient::new(self.0.catalog.clone());
        let (quote, quote_id) = match asked {
            Some(Asked::QuotedTrade(asked)) => {
                let request = VerifyQuoteRequest {
                    token: asked.quote_token,
                    owner_id: owner.to_owned(),
                    max_slippage_bps: asked.max_slippage_bps,
                };
                let reply = catalog.verify_quote(request).await?.into_inner();
                (reply.quote, Some(reply.quote_id))
            }
            Some(Asked::MarketTrade(asked)) => {
                let side = match asked.side() {
                    api::Side::Buy => catalog::Side::Buy,
                    api::Side::Sell => catalog::Side::Sell,
                    api::Side::Unspecified => catalog::Side::Unspecified,
                };
                let request =
                    PriceTradeRequest { side: side.into(), quantity: asked.quantity, limit_price: asked.limit_price };
                (catalog.price_trade(request).await?.into_inner().quote, None)
            }
            None => {
                let error = Error::new(Reason::InvalidField, "Say what to order.");
                return Err(error.violation("order", "is required"));
            }
        };
        let quote = quote.ok_or_else(|| Error::internal("the catalog answers without a quote"))?;
        Ok((Trade::of(quote)?, quote_id))
    }

    /// Carries an order out, and goes on when the caller has left.
    async fn settle(&self, call: &Call, open: Open) -> Result<Order, Error> {
        // In the name of the service alone: the user's token may expire meanwhile.
        let call = Call { caller: None, ..call.detached(self.0.settings.reconcile_after) };
        let service = self.clone();
        let work = async move { settle::carry_out(&service, open).await };
        tokio::spawn(kit::call::run(call, work)).await.map_err(Error::internal)?
    }
}

fn state(state: api::order::State) -> Option<State> {
    match state {
        api::order::State::Unspecified => None,
        api::order::State::Pending => Some(State::Pending),
        api::order::State::Fulfilled => Some(State::Fulfilled),
        api::order::State::Rejected => Some(State::Rejected),
    }
}
