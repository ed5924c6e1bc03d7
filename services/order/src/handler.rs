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
    order::{Command, Kind, Order, State, Trade},
    proto, saga, settle,
    store::{self, Filter, Open},
    verify, watch,
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
        check_customer(owner, &request)?;
        let key = Key::of(&call, &request.request_id, &request);
        if !request.items.is_empty() || matches!(request.order, Some(Asked::QuotedPurchase(_))) {
            return Ok(Response::new(self.buy(owner, key, request).await?));
        }
        let request_key = key.as_ref().map(Key::to_text);
        // Asked before anything is stored. What it refuses counts only if the key is free: a repeat gets its reply even
        // if the quote has expired since.
        let quoted = self.quote(owner, request.order).await;
        let begun = self.0.db.begin(key, async |unit: &mut Unit| {
            let (trade, quote_id) = quoted?;
            let id = kit::id::new("ord", unit.now());
            let kind = Kind::Trade(Box::new(trade));
            let (order, facts) = Order::place(id, owner.to_owned(), kind, quote_id, None, unit.now());
            let open = Open { order, request_key };
            self.insert(unit, &open, facts).await.map(|()| open)
        });
        let open = match begun.await? {
            Begun::Started(open) => open,
            Begun::Finished(reply) => return Ok(Response::new(reply)),
        };
        let order = Some(proto::order(&self.settle(open).await?));
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
        let state = proto::asked_state(request.state());
        let owner = (!request.owner_id.is_empty()).then_some(request.owner_id.as_str());
        let whose = scope.owner().unwrap_or("everyone");
        let by = owner.map_or_else(String::new, |owner| format!(" by {owner}"));
        let list = format!("orders of {whose} in {}{by}", request.state);
        let after = self.0.tokens.decode(&request.page_token, &list)?;
        let before = after.as_ref().and_then(|keys| keys.first()).map(String::as_str);
        // One more than the page, to learn whether there is another.
        let asked = Filter { owner, state, before };
        let read = async |session: &mut Session| store::list(session, &scope, &asked, size + 1).await;
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
        let scope = Call::current()?.scope()?;
        let order = self.load(&scope, &request.id).await?;
        let read =
            async |session: &mut Session| storage::history(session, &order.id, request.after_sequence, CHANGES).await;
        let changes = self.0.db.read(read).await?;
        let changes = changes.iter().map(|change| proto::change(change, &scope)).collect::<Result<_, Error>>()?;
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

    async fn cancel_order(
        &self,
        request: Request<api::CancelOrderRequest>,
    ) -> Result<Response<api::CancelOrderResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let scope = call.scope()?;
        let mut moved = None;
        let cancelled = self.0.db.once(Key::of(&call, &request.request_id, &request), async |unit: &mut Unit| {
            let before = store::lock(unit, &scope, &request.id).await?;
            // Who asks again gets what it asked for.
            if before.is_undone() || before.state == State::Cancelled {
                return Ok(api::CancelOrderResponse { order: Some(proto::order(&before)) });
            }
            let command = Command::Cancel(unit.now() + self.0.settings.stuck_after);
            let after = self.change(unit, &before, command, Vec::new()).await?;
            let reply = api::CancelOrderResponse { order: Some(proto::order(&after)) };
            moved = Some(after);
            Ok(reply)
        });
        let reply = cancelled.await?;
        if let Some(order) = moved {
            self.start(order);
        }
        Ok(Response::new(reply))
    }

    async fn verify_orders(
        &self,
        request: Request<api::VerifyOrdersRequest>,
    ) -> Result<Response<api::VerifyOrdersResponse>, Status> {
        Ok(Response::new(verify::orders(self, &request.into_inner().page_token).await?))
    }

    async fn list_sagas(
        &self,
        request: Request<api::ListSagasRequest>,
    ) -> Result<Response<api::ListSagasResponse>, Status> {
        let request = request.into_inner();
        let size = page::page_size(request.page_size)?;
        let state = asked_saga(request.state());
        let list = format!("sagas in {}", request.state);
        let after = self.0.tokens.decode(&request.page_token, &list)?;
        let after = after.and_then(|keys| keys.into_iter().next()).unwrap_or_default();
        let read = async |session: &mut Session| store::list_sagas(session, state, &after, size + 1).await;
        let mut found = self.0.db.read(read).await?;
        let size = usize::try_from(size).map_err(Error::internal)?;
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => self.0.tokens.encode(&list, std::slice::from_ref(&last.id)),
            _ => String::new(),
        };
        Ok(Response::new(api::ListSagasResponse { sagas: found.iter().map(proto::saga).collect(), next_page_token }))
    }

    async fn get_saga(&self, request: Request<api::GetSagaRequest>) -> Result<Response<api::GetSagaResponse>, Status> {
        let order = self.load(&Scope::All, &request.into_inner().order_id).await?;
        Ok(Response::new(api::GetSagaResponse { saga: Some(proto::saga(&order)) }))
    }

    async fn retry_saga(
        &self,
        request: Request<api::RetrySagaRequest>,
    ) -> Result<Response<api::RetrySagaResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let mut taken_up = None;
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let before = store::lock(unit, &Scope::All, &request.order_id).await?;
            let order = self.take_up(unit, &before).await?;
            let reply = api::RetrySagaResponse { saga: Some(proto::saga(&order)) };
            taken_up = Some(order);
            Ok(reply)
        });
        let reply = reply.await?;
        if let Some(order) = taken_up {
            self.start(order);
        }
        Ok(Response::new(reply))
    }
}

impl Service {
    pub(crate) async fn load(&self, scope: &Scope, id: &str) -> Result<Order, Error> {
        let found = self.0.db.read(async |session: &mut Session| store::load(session, scope, id).await).await?;
        found.ok_or_else(|| store::missing("order", id))
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
            Some(Asked::QuotedPurchase(_)) | None => {
                let error = Error::new(
                    Reason::InvalidField,
                    "Say what to order: goods as `items`, or one of `quoted_purchase`, `quoted_trade` and `market_trade`.",
                );
                return Err(error.violation("items", "is required without one of them"));
            }
        };
        let quote = quote.ok_or_else(|| Error::internal("the catalog answers without a quote"))?;
        Ok((Trade::of(quote)?, quote_id))
    }

    /// Carries an order out, and goes on when the caller has left.
    async fn settle(&self, open: Open) -> Result<Order, Error> {
        let service = self.clone();
        let work = async move { settle::carry_out(&service, open).await };
        tokio::spawn(kit::call::run(self.in_own_name(), work)).await.map_err(Error::internal)?
    }
}

/// People order for themselves.
fn check_customer(owner: &str, request: &api::CreateOrderRequest) -> Result<(), Error> {
    if request.customer_id.is_empty() || request.customer_id == owner {
        return Ok(());
    }
    let error = Error::new(Reason::InvalidField, "Everyone orders for themselves. Leave `customer_id` out.");
    Err(error.violation("customer_id", "must be the caller"))
}

/// The state of a saga that was asked for; nothing for none.
fn asked_saga(asked: api::saga::State) -> Option<saga::State> {
    saga::State::ALL.into_iter().find(|state| proto::saga_state(*state) == asked)
}
