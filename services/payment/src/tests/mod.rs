//! What payment promises, as sentences.

mod asking;
mod audits;
mod callbacks;
mod cards;
mod fakes;
mod late;
mod methods;
mod moves;
mod races;
mod reconciling;
mod refunds;
mod wallet;

use std::{
    future::Future,
    sync::{Arc, Once},
    time::Duration,
};

use contracts::{
    payment::v1::{self as api, payment::State, payment_service_server::PaymentService},
    r#type::v1::Amount,
};
use fakes::FakeLedger;
use kit::{
    Call, Caller, Clock, Error, Scope, Timestamp,
    contract::Contract,
    link::{Link, Links},
};
use storage::{Db, Options, testing::Database};
use tonic::{Request, Response, Status};

use crate::{MIGRATIONS, Service, Settings, payment::Payment, reconcile, simulator::callbacks::send_due, store};

/// The card that everything is approved for.
const GOOD: &str = "4242424242424242";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A payment service over a database of its own, beside a ledger that a test holds in its hand.
struct Bench {
    service: Service,
    db: Db,
    clock: Clock,
    ledger: FakeLedger,
    database: Database,
}

impl Bench {
    /// One for each kind of database.
    async fn each() -> Vec<Bench> {
        Self::each_with(settings()).await
    }

    /// One for each kind of database, which waits for providers hardly at all.
    async fn each_impatient() -> Vec<Bench> {
        Self::each_with(Settings { patience: Duration::from_millis(50), ..settings() }).await
    }

    async fn each_with(settings: Settings) -> Vec<Bench> {
        let mut benches = Vec::new();
        for database in storage::testing::each_database().await {
            benches.push(Bench::over(database, settings.clone()).await);
        }
        benches
    }

    async fn over(database: Database, settings: Settings) -> Bench {
        install();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let options = Options { migrations: MIGRATIONS, ..Options::new("payment", clock.clone()) };
        let db = Db::open(database.url(), options).await.unwrap();
        let ledger = FakeLedger::default();
        let (itself, slot) = Link::deferred();
        let links = Links::new().add("ledger", ledger.link()).add("payment", itself);
        let service = Service::new(db.clone(), &links, settings).await.unwrap();
        slot.set(Link::new(service.routes().prepare()));
        Bench { service, db, clock, ledger, database }
    }

    async fn process(&self, request: api::ProcessPaymentRequest) -> Result<api::Payment, Error> {
        let reply = answer(order_call(), self.service.process_payment(Request::new(request))).await?;
        Ok(reply.payment.unwrap())
    }

    async fn get(&self, id: &str) -> api::Payment {
        let request = Request::new(api::GetPaymentRequest { id: id.to_owned() });
        answer(order_call(), self.service.get_payment(request)).await.unwrap().payment.unwrap()
    }

    async fn state(&self, id: &str) -> State {
        self.get(id).await.state()
    }

    /// Captured, capturable and refunded.
    async fn figures(&self, id: &str) -> [String; 3] {
        let payment = self.get(id).await;
        [payment.captured, payment.capturable, payment.refunded].map(|amount| amount.unwrap().value)
    }

    async fn capture(&self, id: &str, shipment: &str, value: &str, last: bool) -> Result<api::Payment, Error> {
        let request = api::CapturePaymentRequest {
            id: id.to_owned(),
            shipment_id: shipment.to_owned(),
            amount: if value.is_empty() { None } else { amount(value) },
            r#final: last,
        };
        let reply = answer(order_call(), self.service.capture_payment(Request::new(request))).await?;
        Ok(reply.payment.unwrap())
    }

    async fn void(&self, asked: &api::ProcessPaymentRequest) -> Result<api::Payment, Error> {
        let (id, order_id, owner_id) = (asked.id.clone(), asked.order_id.clone(), asked.owner_id.clone());
        let request = Request::new(api::VoidPaymentRequest { id, order_id, owner_id });
        Ok(answer(order_call(), self.service.void_payment(request)).await?.payment.unwrap())
    }

    async fn confirm(&self, owner: &str, id: &str) -> Result<api::Payment, Error> {
        let request = api::ConfirmPaymentRequest { request_id: request_id(), id: id.to_owned() };
        let reply = answer(user_call(owner), self.service.confirm_payment(Request::new(request))).await?;
        Ok(reply.payment.unwrap())
    }

    async fn refund(&self, id: &str, value: &str) -> Result<api::Refund, Error> {
        self.ask_refund(refund_of(id, value)).await
    }

    async fn ask_refund(&self, request: api::CreateRefundRequest) -> Result<api::Refund, Error> {
        Ok(answer(order_call(), self.service.create_refund(Request::new(request))).await?.refund.unwrap())
    }

    async fn add_card(&self, owner: &str, number: &str) -> Result<api::PaymentMethod, Error> {
        let request = api::CreatePaymentMethodRequest {
            number: number.to_owned(),
            expire_month: 12,
            expire_year: 2099,
            security_code: "737".to_owned(),
            request_id: request_id(),
        };
        let add = || answer(user_call(owner), self.service.create_payment_method(Request::new(request.clone())));
        let reply = match add().await {
            // There are cards of which this is the first answer.
            Err(error) if error.reason() == "PROVIDER_UNAVAILABLE" => add().await?,
            reply => reply?,
        };
        Ok(reply.payment_method.unwrap())
    }

    /// A purchase for 10.00 USD with a new card of this number.
    async fn card(&self, number: &str) -> api::ProcessPaymentRequest {
        let asked = purchase("10.00");
        let method = self.add_card(&asked.owner_id, number).await.unwrap();
        api::ProcessPaymentRequest { payment_method_id: method.id, ..asked }
    }

    /// A payment of 10.00 USD by a good card, and 10.00 captured of it.
    async fn captured(&self) -> api::Payment {
        let asked = self.card(GOOD).await;
        self.process(asked.clone()).await.unwrap();
        self.capture(&asked.id, &shipment(), "", true).await.unwrap()
    }

    async fn reconcile(&self) -> usize {
        reconcile::once(&self.service).await.unwrap()
    }

    /// Lets the reconciler look at everything whose answer is missing.
    async fn later(&self) -> usize {
        self.clock.advance(Duration::from_secs(6));
        self.reconcile().await
    }

    async fn send_callbacks(&self) -> usize {
        send_due(self.service.0.simulator.as_ref().unwrap()).await.unwrap()
    }

    async fn verify(&self) -> api::VerifyPaymentsResponse {
        self.verify_from("").await.unwrap()
    }

    async fn verify_from(&self, page_token: &str) -> Result<api::VerifyPaymentsResponse, Error> {
        let request = Request::new(api::VerifyPaymentsRequest { page_token: page_token.to_owned() });
        answer(order_call(), self.service.verify_payments(request)).await
    }

    /// Everything holds, and the facts of each payment are numbered without a gap.
    async fn assert_sound(&self) {
        let verified = self.verify().await;
        assert!(verified.holds, "{:?}", verified.problems);
    }

    /// What is told about a payment, in order.
    async fn facts(&self, id: &str) -> Vec<String> {
        const FACTS: &str = "SELECT sequence, payload FROM outbox WHERE aggregate = $1 ORDER BY sequence";
        let id: &str = id;
        let read = async |session: &mut storage::Session| session.rows(FACTS, &[id.into()]).await;
        let rows = self.db.read(read).await.unwrap();
        let named = rows.iter().zip(1..).map(|(row, number)| {
            assert_eq!(row.int(0).unwrap(), number);
            let event: api::PaymentEvent = prost::Message::decode(row.bytes(1).unwrap().as_slice()).unwrap();
            let name = format!("{:?}", event.event.unwrap());
            name.split('(').next().unwrap_or_default().to_owned()
        });
        named.collect()
    }

    /// The states that a payment or refund went through, the first one it came from included.
    async fn path(&self, id: &str) -> Vec<String> {
        let read = async |session: &mut storage::Session| storage::history(session, id, 0, 100).await;
        let steps = self.db.read(read).await.unwrap();
        let mut path: Vec<String> = steps.iter().take(1).map(|step| step.from.clone()).collect();
        path.extend(steps.into_iter().map(|step| step.to));
        path
    }

    /// One number that a query gives.
    async fn number(&self, sql: &'static str) -> i64 {
        let read = async |session: &mut storage::Session| session.row(sql, &[]).await;
        self.db.read(read).await.unwrap().unwrap().int(0).unwrap()
    }

    async fn run_sql(&self, sql: &'static str) {
        self.db.write(async |unit: &mut storage::Unit| unit.exec(sql, &[]).await).await.unwrap();
    }
}

fn settings() -> Settings {
    Settings { simulator: true, patience: Duration::from_secs(30), ..Settings::default() }
}

/// A payment as its row has it.
async fn load(bench: &Bench, id: &str) -> Payment {
    let read = async |session: &mut storage::Session| store::payments::load(session, &Scope::All, id).await;
    bench.db.read(read).await.unwrap().unwrap()
}

/// Asks for a payment from the wallet, in USD.
fn purchase(value: &str) -> api::ProcessPaymentRequest {
    api::ProcessPaymentRequest {
        id: id("pay"),
        order_id: id("ord"),
        owner_id: id("usr"),
        amount: amount(value),
        payment_method_id: String::new(),
    }
}

fn refund_of(id: &str, value: &str) -> api::CreateRefundRequest {
    let amount = if value.is_empty() { None } else { amount(value) };
    api::CreateRefundRequest { request_id: request_id(), payment_id: id.to_owned(), amount, reference: "a note".into() }
}

async fn answer<T>(call: Call, work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    kit::call::run(call, work).await.map(Response::into_inner).map_err(Error::from)
}

fn order_call() -> Call {
    Call::background("order", Duration::from_secs(60))
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

fn amount(value: &str) -> Option<Amount> {
    Some(Amount { value: value.to_owned(), unit: "USD".to_owned() })
}

fn id(prefix: &str) -> String {
    kit::id::new(prefix, Timestamp::from_seconds(1))
}

fn shipment() -> String {
    id("shp")
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
