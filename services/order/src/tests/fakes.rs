//! A catalog and a ledger in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use contracts::{
    catalog::v1::{
        self as catalog, Quote,
        pricing_service_server::{PricingService, PricingServiceServer},
    },
    ledger::v1::{
        self as ledger, Transaction,
        ledger_service_server::{LedgerService, LedgerServiceServer},
    },
    r#type::v1::Price,
};
use kit::{Error, Timestamp, link::Link};
use tonic::{Request, Response, Status, service::Routes};

use super::amount;

/// Quotes 0.01 BTC at 50 000 with a fee of 50 cents, until told to refuse.
#[derive(Clone, Default)]
pub struct FakeCatalog {
    refusal: Arc<Mutex<Option<Error>>>,
}

impl FakeCatalog {
    /// Refuses everything from now on.
    pub fn refuse(&self, refusal: Error) {
        *self.refusal.lock().unwrap() = Some(refusal);
    }

    pub fn link(&self) -> Link {
        Link::new(Routes::new(PricingServiceServer::new(self.clone())).prepare())
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
}

impl FakeLedger {
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

    async fn verify_ledger(
        &self,
        _: Request<ledger::VerifyLedgerRequest>,
    ) -> Result<Response<ledger::VerifyLedgerResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
