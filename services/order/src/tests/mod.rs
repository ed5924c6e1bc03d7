//! What order promises, as sentences.

mod fakes;
mod orders;
mod rules;
mod settling;
mod watching;

use std::{
    future::Future,
    sync::{Arc, Once},
    time::Duration,
};

use contracts::{
    order::v1::{self as api, order_service_server::OrderService},
    r#type::v1::Amount,
};
use fakes::{FakeCatalog, FakeLedger};
use kit::{Call, Caller, Clock, Error, Scope, Timestamp, contract::Contract, link::Links};
use storage::{Db, Options, testing::Database};
use tonic::{Request, Response, Status};

use crate::{MIGRATIONS, Service, Settings};

/// An order service over a database of its own, between a catalog and a ledger that a test holds in its hand.
struct Bench {
    service: Service,
    db: Db,
    clock: Clock,
    catalog: FakeCatalog,
    ledger: FakeLedger,
    _database: Database,
}

impl Bench {
    /// One for each kind of database.
    async fn each() -> Vec<Bench> {
        let mut benches = Vec::new();
        for database in storage::testing::each_database().await {
            benches.push(Bench::over(database).await);
        }
        benches
    }

    async fn over(database: Database) -> Bench {
        install();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let options = Options { migrations: MIGRATIONS, ..Options::new("order", clock.clone()) };
        let db = Db::open(database.url(), options).await.unwrap();
        let (catalog, ledger) = (FakeCatalog::default(), FakeLedger::default());
        let links = Links::new().add("catalog", catalog.link()).add("ledger", ledger.link());
        let settings = Settings { reconcile_after: Duration::from_millis(300), watches_max: 2, ..Settings::default() };
        let service = Service::new(db.clone(), &links, settings).await.unwrap();
        Bench { service, db, clock, catalog, ledger, _database: database }
    }

    async fn create(&self, owner: &str, request: api::CreateOrderRequest) -> Result<api::Order, Error> {
        let reply = answer(user_call(owner), self.service.create_order(Request::new(request))).await?;
        Ok(reply.order.unwrap())
    }

    async fn get(&self, owner: &str, id: &str) -> Result<api::Order, Error> {
        let request = Request::new(api::GetOrderRequest { id: id.to_owned() });
        Ok(answer(user_call(owner), self.service.get_order(request)).await?.order.unwrap())
    }

    async fn list(&self, call: Call, request: api::ListOrdersRequest) -> Result<api::ListOrdersResponse, Error> {
        answer(call, self.service.list_orders(Request::new(request))).await
    }

    /// The states of every order of an owner.
    async fn states(&self, owner: &str) -> Vec<api::order::State> {
        let orders = self.list(user_call(owner), api::ListOrdersRequest::default()).await.unwrap().orders;
        orders.iter().map(api::Order::state).collect()
    }

    /// What is told to whoever follows, per order.
    async fn facts(&self) -> Vec<(i64, String)> {
        const FACTS: &str = "SELECT sequence, payload FROM outbox ORDER BY aggregate, sequence";
        let rows = self.db.read(async |session: &mut storage::Session| session.rows(FACTS, &[]).await).await.unwrap();
        let name = |row: &storage::Row| {
            let event: api::OrderEvent = prost::Message::decode(row.bytes(1).unwrap().as_slice()).unwrap();
            let name = format!("{:?}", event.event.unwrap());
            (row.int(0).unwrap(), name.split('(').next().unwrap_or_default().to_owned())
        };
        rows.iter().map(name).collect()
    }
}

fn market_buy() -> api::CreateOrderRequest {
    let trade = api::MarketTrade { side: api::Side::Buy.into(), quantity: amount("0.01", "BTC"), limit_price: None };
    let order = Some(api::create_order_request::Order::MarketTrade(trade));
    api::CreateOrderRequest { request_id: request_id(), order }
}

fn quoted(token: &str) -> api::CreateOrderRequest {
    let trade = api::QuotedTrade { quote_token: token.to_owned(), max_slippage_bps: 0 };
    let order = Some(api::create_order_request::Order::QuotedTrade(trade));
    api::CreateOrderRequest { request_id: request_id(), order }
}

async fn answer<T>(call: Call, work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    kit::call::run(call, work).await.map(Response::into_inner).map_err(Error::from)
}

fn user_call(user: &str) -> Call {
    let caller = Caller {
        user: user.to_owned(),
        roles: vec!["customer".to_owned()],
        session: String::new(),
        token_expires: Timestamp::default(),
        token: Arc::from("a token"),
    };
    Call {
        caller: Some(Arc::new(caller)),
        scope: Some(Scope::Owner(user.to_owned())),
        ..Call::background("edge", Duration::from_secs(60))
    }
}

fn amount(value: &str, unit: &str) -> Option<Amount> {
    Some(Amount { value: value.to_owned(), unit: unit.to_owned() })
}

fn user() -> String {
    kit::id::new("usr", Timestamp::from_seconds(1))
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| kit::contract::install(Arc::new(Contract::parse(contracts::DESCRIPTORS).unwrap())));
}

/// Polls until `done`, or fails after a while.
async fn eventually(mut done: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "it did not happen in time");
        tokio::task::yield_now().await;
    }
}
