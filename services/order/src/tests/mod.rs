//! What order promises, as sentences.

mod buying;
mod cancelling;
mod carts;
mod crashes;
mod fakes;
mod giving_up;
mod histories;
mod invoices;
mod migrating;
mod moves;
mod orders;
mod outages;
mod papers;
mod putting_back;
mod returning;
mod rules;
mod settling;
mod shares;
mod shelf;
mod shipping;
mod verifying;
mod watching;

use std::{
    future::Future,
    sync::{Arc, Once},
    time::Duration,
};

use contracts::{
    catalog::v1::{PurchaseQuote, QuoteLine, product},
    order::v1::{self as api, fulfillment_service_server::FulfillmentService, order_service_server::OrderService},
    r#type::v1::{Amount, PostalAddress},
};
use fakes::{FakeCatalog, FakeInventory, FakeLedger, FakePayment};
use kit::{
    Call, Caller, Clock, Error, Scope, Timestamp,
    contract::Contract,
    link::{Link, Links},
};
use storage::{Db, Options, testing::Database};
use tonic::{Request, Response, Status};

use crate::{MIGRATIONS, Service, Settings, closing, runner, store, warehouse};

/// An order service over a database of its own, between a catalog and a ledger that a test holds in its hand.
struct Bench {
    service: Service,
    db: Db,
    clock: Clock,
    catalog: FakeCatalog,
    inventory: FakeInventory,
    payment: FakePayment,
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
        let settings = Settings { reconcile_after: Duration::from_millis(300), watches_max: 2, ..Settings::default() };
        Bench::with(database, settings).await
    }

    /// One for each kind of database, with enough time for purchases on a busy machine.
    async fn each_patient() -> Vec<Bench> {
        let mut benches = Vec::new();
        for database in storage::testing::each_database().await {
            benches.push(Bench::with(database, Settings::default()).await);
        }
        benches
    }

    async fn with(database: Database, settings: Settings) -> Bench {
        install();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let options = Options { migrations: MIGRATIONS, ..Options::new("order", clock.clone()) };
        let db = Db::open(database.url(), options).await.unwrap();
        let (catalog, ledger) = (FakeCatalog::default(), FakeLedger::default());
        let (inventory, payment) = (FakeInventory::default(), FakePayment::default());
        let (to_us, slot) = Link::deferred();
        let links = Links::new()
            .add("catalog", catalog.link())
            .add("inventory", inventory.link())
            .add("payment", payment.link())
            .add("ledger", ledger.link())
            .add("order", to_us);
        let service = Service::new(db.clone(), &links, settings).await.unwrap();
        slot.set(Link::new(service.routes().prepare()));
        Bench { service, db, clock, catalog, inventory, payment, ledger, _database: database }
    }

    async fn create(&self, owner: &str, request: api::CreateOrderRequest) -> Result<api::Order, Error> {
        let reply = answer(user_call(owner), self.service.create_order(Request::new(request))).await?;
        Ok(reply.order.unwrap())
    }

    async fn get(&self, owner: &str, id: &str) -> Result<api::Order, Error> {
        let request = Request::new(api::GetOrderRequest { id: id.to_owned() });
        Ok(answer(user_call(owner), self.service.get_order(request)).await?.order.unwrap())
    }

    /// Orders goods, and waits until the order stands somewhere.
    async fn buy(&self, owner: &str, goods: &[Good], until: api::order::State) -> api::Order {
        self.catalog.sell(basket(goods));
        let placed = self.create(owner, items()).await.unwrap();
        self.reaches(owner, &placed.id, until).await
    }

    /// Waits until an order stands somewhere, and nothing is under way on it.
    async fn reaches(&self, owner: &str, id: &str, state: api::order::State) -> api::Order {
        eventually(async || {
            let saga = self.saga(id).await.state();
            let idle = matches!(saga, api::saga::State::Succeeded | api::saga::State::Compensated);
            idle && self.get(owner, id).await.unwrap().state() == state
        })
        .await;
        self.get(owner, id).await.unwrap()
    }

    async fn saga(&self, order_id: &str) -> api::Saga {
        let request = Request::new(api::GetSagaRequest { order_id: order_id.to_owned() });
        answer(admin_call(), self.service.get_saga(request)).await.unwrap().saga.unwrap()
    }

    async fn cancel(&self, owner: &str, id: &str) -> Result<api::Order, Error> {
        let request = Request::new(api::CancelOrderRequest { request_id: request_id(), id: id.to_owned() });
        Ok(answer(user_call(owner), self.service.cancel_order(request)).await?.order.unwrap())
    }

    async fn ship(&self, order_id: &str, lines: &[api::LineQuantity]) -> Result<api::Shipment, Error> {
        let request = api::CreateShipmentRequest {
            request_id: request_id(),
            order_id: order_id.to_owned(),
            lines: lines.to_vec(),
            carrier: "Snail".to_owned(),
            tracking_number: "1".to_owned(),
        };
        self.create_shipment(request).await
    }

    async fn create_shipment(&self, request: api::CreateShipmentRequest) -> Result<api::Shipment, Error> {
        let reply = answer(admin_call(), self.service.create_shipment(Request::new(request))).await?;
        Ok(reply.shipment.unwrap())
    }

    /// Lets time go by and carries on what was left, until nothing is due.
    async fn recover(&self) {
        for _ in 0..100 {
            self.clock.advance(Duration::from_secs(6));
            let due = async |session: &mut storage::Session| store::any_due(session, self.clock.now()).await;
            if !self.db.read(due).await.unwrap() {
                return;
            }
            runner::reconcile_once(&self.service).await.unwrap();
        }
        panic!("something stays due");
    }

    /// Nothing is set aside, and no money is secured.
    fn assert_nothing_is_held(&self) {
        use contracts::{inventory::v1::reservation, payment::v1::payment};
        assert!(!self.inventory.states().contains(&reservation::State::Held), "goods are still set aside");
        let secured = |paid: &contracts::payment::v1::Payment| paid.state() == payment::State::Authorized;
        assert!(!self.payment.payments().iter().any(secured), "money is still secured");
    }

    async fn list(&self, call: Call, request: api::ListOrdersRequest) -> Result<api::ListOrdersResponse, Error> {
        answer(call, self.service.list_orders(Request::new(request))).await
    }

    /// The states of every order of an owner.
    async fn states(&self, owner: &str) -> Vec<api::order::State> {
        let orders = self.list(user_call(owner), api::ListOrdersRequest::default()).await.unwrap().orders;
        orders.iter().map(api::Order::state).collect()
    }

    /// Hears what payment tells.
    async fn hear(&self, paid: contracts::payment::v1::Payment, fact: contracts::payment::v1::payment_event::Event) {
        use storage::consumer::Handler;
        let event = storage::Event {
            id: "evt_1".into(),
            topic: "payment-events".into(),
            kind: "agora.payment.v1.PaymentEvent".into(),
            aggregate: paid.id.clone(),
            sequence: 1,
            time: self.clock.now(),
            payload: prost::Message::encode_to_vec(&contracts::payment::v1::PaymentEvent {
                payment: Some(paid),
                event: Some(fact),
            }),
            trace: String::new(),
            offset: 0,
        };
        let reactions = crate::events::Reactions(self.service.clone());
        self.db.write(async |unit: &mut storage::Unit| reactions.handle(unit, &event).await).await.unwrap();
    }

    /// How many facts and changes are written, and how many of them have a word in them.
    async fn written(&self, word: &str) -> (usize, usize) {
        const WRITTEN: &str = "SELECT payload FROM outbox UNION ALL SELECT detail FROM history";
        let rows = self.db.read(async |session: &mut storage::Session| session.rows(WRITTEN, &[]).await).await.unwrap();
        let has = |row: &&storage::Row| {
            let bytes = row.bytes(0).unwrap();
            bytes.windows(word.len()).any(|part| part == word.as_bytes())
        };
        (rows.len(), rows.iter().filter(has).count())
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

/// A good of a quote: its name, whether it is digital, how many pieces, and what they cost in cents.
type Good = (&'static str, bool, i64, i64);

/// Three mugs and shipping: 35.00 in all.
const MUGS: &[Good] = &[("mug", false, 3, 3_001)];
/// Three mugs and a book to download: 45.00 in all.
const MUGS_AND_BOOK: &[Good] = &[("mug", false, 3, 3_001), ("book", true, 1, 1_000)];
/// What shipping costs, in cents.
const SHIPPING: i64 = 499;

/// What goods cost, with shipping if something is shipped.
fn basket(goods: &[Good]) -> PurchaseQuote {
    let usd = |cents| amount(&kit::amount::format(cents, 2), "USD");
    let lines = goods.iter().map(|(name, digital, quantity, cents)| QuoteLine {
        variant_id: variant(name),
        title: (*name).to_owned(),
        kind: if *digital { product::Kind::DigitalGood } else { product::Kind::PhysicalGood }.into(),
        quantity: *quantity,
        total: usd(*cents),
        ..Default::default()
    });
    let shipping = if goods.iter().all(|(_, digital, ..)| *digital) { 0 } else { SHIPPING };
    let sum: i64 = goods.iter().map(|(.., cents)| cents).sum();
    PurchaseQuote { lines: lines.collect(), shipping: usd(shipping), total: usd(sum + shipping), ..Default::default() }
}

fn variant(name: &str) -> String {
    kit::id::derive("var", name, "id")
}

/// Pieces of a good.
fn pieces(name: &str, quantity: i64) -> api::LineQuantity {
    api::LineQuantity { variant_id: variant(name), quantity }
}

/// Asks for goods at the price of the moment.
fn items() -> api::CreateOrderRequest {
    api::CreateOrderRequest {
        request_id: request_id(),
        items: vec![pieces("mug", 3)],
        shipping_address: Some(address()),
        ..Default::default()
    }
}

fn address() -> PostalAddress {
    PostalAddress {
        recipient: "Ada".to_owned(),
        lines: vec!["Kerkstraat 1".to_owned()],
        city: "Utrecht".to_owned(),
        postal_code: String::new(),
        country_code: "NL".to_owned(),
    }
}

/// A call of the one admin.
fn admin_call() -> Call {
    Call { scope: Some(Scope::All), ..user_call(&kit::id::derive("usr", "admin", "id")) }
}

fn market_buy() -> api::CreateOrderRequest {
    let trade = api::MarketTrade { side: api::Side::Buy.into(), quantity: amount("0.01", "BTC"), limit_price: None };
    let order = Some(api::create_order_request::Order::MarketTrade(trade));
    api::CreateOrderRequest { request_id: request_id(), order, ..Default::default() }
}

fn quoted(token: &str) -> api::CreateOrderRequest {
    let trade = api::QuotedTrade { quote_token: token.to_owned(), max_slippage_bps: 0 };
    let order = Some(api::create_order_request::Order::QuotedTrade(trade));
    api::CreateOrderRequest { request_id: request_id(), order, ..Default::default() }
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
