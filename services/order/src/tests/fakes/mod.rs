//! A catalog and a ledger in memory; and, below, an inventory and a payment service.

mod inventory;
mod payment;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use contracts::{
    catalog::v1::{
        self as catalog, PurchaseQuote, Quote,
        pricing_service_server::{PricingService, PricingServiceServer},
    },
    ledger::v1::{
        self as ledger, Transaction,
        ledger_service_server::{LedgerService, LedgerServiceServer},
    },
    r#type::v1::{Price, Reason},
};
use kit::{Error, Timestamp, link::Link};
use tonic::{Request, Response, Status, service::Routes};

pub use inventory::FakeInventory;
pub use payment::{FakePayment, cents};

use super::{amount, shelf::Shelf};

/// Quotes 0.01 BTC at 50 000 with a fee of 50 cents, and goods as it was told, until told to refuse.
#[derive(Clone, Default)]
pub struct FakeCatalog {
    refusal: Arc<Mutex<Option<Error>>>,
    goods: Arc<Mutex<Option<PurchaseQuote>>>,
    /// Prices by variant, once something is on it.
    pub shelf: Shelf,
}

impl FakeCatalog {
    /// Refuses everything from now on.
    pub fn refuse(&self, refusal: Error) {
        *self.refusal.lock().unwrap() = Some(refusal);
    }

    pub fn link(&self) -> Link {
        Link::new(Routes::new(PricingServiceServer::new(self.clone())).prepare())
    }

    /// What the next baskets cost.
    pub fn sell(&self, quote: PurchaseQuote) {
        *self.goods.lock().unwrap() = Some(quote);
    }

    fn basket(&self) -> Result<Option<PurchaseQuote>, Status> {
        match self.refusal.lock().unwrap().clone() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(self.goods.lock().unwrap().clone()),
        }
    }

    fn quote(&self) -> Result<Option<Quote>, Status> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal.into());
        }
        Ok(Some(Quote {
            side: catalog::Side::Buy.into(),
            quantity: amount("0.01", "BTC"),
            price: Some(Price { value: "50000".to_owned(), currency: "USD".to_owned() }),
            notional: amount("500.00", "USD"),
            fee: amount("0.50", "USD"),
            total: amount("500.50", "USD"),
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl PricingService for FakeCatalog {
    async fn create_quote(
        &self,
        _: Request<catalog::CreateQuoteRequest>,
    ) -> Result<Response<catalog::CreateQuoteResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn verify_quote(
        &self,
        request: Request<catalog::VerifyQuoteRequest>,
    ) -> Result<Response<catalog::VerifyQuoteResponse>, Status> {
        let quote_id = kit::id::derive("quo", &request.into_inner().token, "id");
        Ok(Response::new(catalog::VerifyQuoteResponse { quote: self.quote()?, quote_id }))
    }

    async fn verify_purchase_quote(
        &self,
        request: Request<catalog::VerifyPurchaseQuoteRequest>,
    ) -> Result<Response<catalog::VerifyPurchaseQuoteResponse>, Status> {
        let quote_id = kit::id::derive("quo", &request.into_inner().token, "id");
        Ok(Response::new(catalog::VerifyPurchaseQuoteResponse { quote: self.basket()?, quote_id }))
    }

    async fn price_purchase(
        &self,
        request: Request<catalog::PricePurchaseRequest>,
    ) -> Result<Response<catalog::PricePurchaseResponse>, Status> {
        if let Some(priced) = self.shelf.price(request.get_ref()) {
            return Ok(Response::new(catalog::PricePurchaseResponse { quote: Some(priced?) }));
        }
        Ok(Response::new(catalog::PricePurchaseResponse { quote: self.basket()? }))
    }

    async fn create_purchase_quote(
        &self,
        _: Request<catalog::CreatePurchaseQuoteRequest>,
    ) -> Result<Response<catalog::CreatePurchaseQuoteResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_list_prices(
        &self,
        _: Request<catalog::ListListPricesRequest>,
    ) -> Result<Response<catalog::ListListPricesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn update_list_price(
        &self,
        _: Request<catalog::UpdateListPriceRequest>,
    ) -> Result<Response<catalog::UpdateListPriceResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_promotions(
        &self,
        _: Request<catalog::ListPromotionsRequest>,
    ) -> Result<Response<catalog::ListPromotionsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_promotion(
        &self,
        _: Request<catalog::CreatePromotionRequest>,
    ) -> Result<Response<catalog::CreatePromotionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn end_promotion(
        &self,
        _: Request<catalog::EndPromotionRequest>,
    ) -> Result<Response<catalog::EndPromotionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn price_trade(
        &self,
        _: Request<catalog::PriceTradeRequest>,
    ) -> Result<Response<catalog::PriceTradeResponse>, Status> {
        Ok(Response::new(catalog::PriceTradeResponse { quote: self.quote()? }))
    }
}

/// How the ledger behaves.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    /// It posts and says so.
    #[default]
    Well,
    /// It refuses.
    Refusing(Error),
    /// It posts, but its answer is lost.
    LosingAnswers,
    /// It cannot be reached.
    Away,
    /// It never answers.
    Hanging,
}

/// Posts each request once, by its id.
#[derive(Clone, Default)]
pub struct FakeLedger {
    state: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    mood: Mood,
    posted: HashMap<String, Transaction>,
    calls: usize,
    holds: Vec<ledger::Hold>,
}

impl FakeLedger {
    /// Has a hold that payment may know nothing of.
    pub fn hold(&self, hold: ledger::Hold) {
        self.state.lock().unwrap().holds.push(hold);
    }

    pub fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub fn transactions(&self) -> Vec<Transaction> {
        self.state.lock().unwrap().posted.values().cloned().collect()
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    pub fn link(&self) -> Link {
        Link::new(Routes::new(LedgerServiceServer::new(self.clone())).prepare())
    }

    fn post(&self, request: ledger::PostTransactionRequest) -> Transaction {
        let ledger::PostTransactionRequest { request_id, kind, reference, entries } = request;
        let id = kit::id::new("txn", Timestamp::from_seconds(1));
        let transaction = Transaction { id, kind, reference, entries, create_time: None };
        self.state.lock().unwrap().posted.entry(request_id).or_insert(transaction).clone()
    }
}

#[tonic::async_trait]
impl LedgerService for FakeLedger {
    async fn post_transaction(
        &self,
        request: Request<ledger::PostTransactionRequest>,
    ) -> Result<Response<ledger::PostTransactionResponse>, Status> {
        let mood = {
            let mut state = self.state.lock().unwrap();
            state.calls += 1;
            state.mood.clone()
        };
        match mood {
            Mood::Refusing(refusal) => return Err(refusal.into()),
            Mood::Away => return Err(Status::unavailable("connection refused")),
            Mood::Hanging => std::future::pending().await,
            Mood::Well | Mood::LosingAnswers => {}
        }
        let transaction = Some(self.post(request.into_inner()));
        if matches!(mood, Mood::LosingAnswers) {
            return Err(Status::unavailable("connection reset"));
        }
        Ok(Response::new(ledger::PostTransactionResponse { transaction }))
    }

    async fn get_transaction(
        &self,
        _: Request<ledger::GetTransactionRequest>,
    ) -> Result<Response<ledger::GetTransactionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_holds(
        &self,
        _: Request<ledger::ListHoldsRequest>,
    ) -> Result<Response<ledger::ListHoldsResponse>, Status> {
        let holds = self.state.lock().unwrap().holds.clone();
        Ok(Response::new(ledger::ListHoldsResponse { holds, next_page_token: String::new() }))
    }

    async fn create_hold(
        &self,
        _: Request<ledger::CreateHoldRequest>,
    ) -> Result<Response<ledger::CreateHoldResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_hold(&self, _: Request<ledger::GetHoldRequest>) -> Result<Response<ledger::GetHoldResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn post_hold(
        &self,
        _: Request<ledger::PostHoldRequest>,
    ) -> Result<Response<ledger::PostHoldResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn void_hold(
        &self,
        _: Request<ledger::VoidHoldRequest>,
    ) -> Result<Response<ledger::VoidHoldResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn verify_ledger(
        &self,
        _: Request<ledger::VerifyLedgerRequest>,
    ) -> Result<Response<ledger::VerifyLedgerResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// How the RPCs of a service behave, and how often they were called.
#[derive(Clone, Default)]
pub struct Moods(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    moods: HashMap<&'static str, Mood>,
    counts: BTreeMap<&'static str, usize>,
}

impl Moods {
    /// How an RPC behaves from now on.
    pub fn set(&self, rpc: &'static str, mood: Mood) {
        self.0.lock().unwrap().moods.insert(rpc, mood);
    }

    /// How an RPC behaves.
    fn of(&self, rpc: &str) -> Mood {
        self.0.lock().unwrap().moods.get(rpc).cloned().unwrap_or_default()
    }

    /// How often an RPC was called.
    pub fn calls(&self, rpc: &str) -> usize {
        self.0.lock().unwrap().counts.get(rpc).copied().unwrap_or_default()
    }

    /// Does the work as the mood is.
    async fn answer<T>(
        &self,
        rpc: &'static str,
        work: impl FnOnce() -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let mood = {
            let mut state = self.0.lock().unwrap();
            *state.counts.entry(rpc).or_default() += 1;
            state.moods.get(rpc).cloned().unwrap_or_default()
        };
        match mood {
            Mood::Refusing(refusal) => Err(refusal.into()),
            Mood::Away => Err(Status::unavailable("connection refused")),
            Mood::Hanging => std::future::pending().await,
            Mood::Well => work().map(Response::new),
            Mood::LosingAnswers => {
                work()?;
                Err(Status::unavailable("connection reset"))
            }
        }
    }
}

fn not_found() -> Status {
    Error::new(Reason::ResourceNotFound, "There is no such thing.").into()
}
