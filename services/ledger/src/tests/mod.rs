//! What the ledger promises, as sentences.

mod book;
mod hold_races;
mod hold_rules;
mod holds;
mod money;
mod races;
mod wallet;

use std::{
    future::Future,
    sync::{Arc, Once},
    time::Duration,
};

use contracts::{
    catalog::v1::{
        self as catalog,
        market_data_service_server::{MarketDataService, MarketDataServiceServer},
        product_service_server::{ProductService, ProductServiceServer},
        unit::Kind,
    },
    ledger::v1::{self as api, ledger_service_server::LedgerService, wallet_service_server::WalletService},
    r#type::v1::{Amount, Price},
};
use kit::{
    Call, Caller, Clock, Error, Scope, Timestamp,
    contract::Contract,
    link::{Link, Links, Slot},
};
use storage::{Db, Options, testing::Database};
use tonic::{Request, Response, Status, service::Routes};
use tower::Service as _;

use crate::{MIGRATIONS, Service, Settings};

/// A ledger over a database of its own, and what a test needs to speak to it.
struct Bench {
    service: Service,
    db: Db,
    clock: Clock,
    /// The way from the ledger to itself, for the demo bank.
    itself: Slot,
    _database: Database,
}

impl Bench {
    /// One for each kind of database.
    async fn each() -> Vec<Bench> {
        let mut benches = Vec::new();
        for database in storage::testing::each_database().await {
            benches.push(Bench::over(database, links()).await);
        }
        benches
    }

    async fn over(database: Database, links: Links) -> Bench {
        install();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let options = Options { migrations: MIGRATIONS, ..Options::new("ledger", clock.clone()) };
        let db = Db::open(database.url(), options).await.unwrap();
        let (link, itself) = Link::deferred();
        let links = links.add("ledger", link);
        let service = Service::new(db.clone(), &links, Settings::default()).await.unwrap();
        Bench { service, db, clock, itself, _database: database }
    }

    async fn deposit(&self, owner: &str, value: &str) -> Result<api::Deposit, Error> {
        let request = api::CreateDepositRequest { request_id: request_id(), amount: amount(value, "USD") };
        let reply = self.as_user(owner, self.service.create_deposit(Request::new(request))).await?;
        Ok(reply.deposit.unwrap())
    }

    async fn withdraw(&self, owner: &str, value: &str) -> Result<api::Withdrawal, Error> {
        let request = api::CreateWithdrawalRequest { request_id: request_id(), amount: amount(value, "USD") };
        let reply = self.as_user(owner, self.service.create_withdrawal(Request::new(request))).await?;
        Ok(reply.withdrawal.unwrap())
    }

    async fn post(&self, request: api::PostTransactionRequest) -> Result<api::Transaction, Error> {
        let reply = self.as_service("order", self.service.post_transaction(Request::new(request))).await?;
        Ok(reply.transaction.unwrap())
    }

    /// Total, held and available of a unit.
    async fn balance(&self, owner: &str, unit: &str) -> [String; 3] {
        let wallet = self.as_user(owner, self.service.get_wallet(Request::new(api::GetWalletRequest {}))).await;
        let balances = wallet.unwrap().wallet.unwrap().balances;
        let is_unit = |amount: &Option<Amount>| amount.as_ref().is_some_and(|amount| amount.unit == unit);
        match balances.into_iter().find(|balance| is_unit(&balance.total)) {
            Some(api::Balance { total, held, available }) => {
                [total, held, available].map(|amount| amount.unwrap().value)
            }
            None => ["0"; 3].map(str::to_owned),
        }
    }

    async fn verify(&self) -> api::VerifyLedgerResponse {
        let request = Request::new(api::VerifyLedgerRequest::default());
        self.as_service("ops", self.service.verify_ledger(request)).await.unwrap()
    }

    async fn as_user<T>(
        &self,
        user: &str,
        work: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        answer(user_call(user), work).await
    }

    async fn as_service<T>(
        &self,
        workload: &str,
        work: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        answer(Call::background(workload, Duration::from_secs(60)), work).await
    }
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

/// A purchase (`quantity` positive) or a sale of bitcoin, for `money` of which `fee` goes to the house.
fn trade(owner: &str, quantity: &str, money: &str, fee: &str) -> api::PostTransactionRequest {
    let cents = |text: &str| kit::amount::parse(text, 2).unwrap();
    let (total, fee) = (cents(money), cents(fee));
    let other = match quantity.strip_prefix('-') {
        Some(sold) => sold.to_owned(),
        None => format!("-{quantity}"),
    };
    let usd = |atoms: i64| kit::amount::format(atoms, 2);
    let entries = [
        (owner, usd(total), "USD"),
        ("house/trading", usd(-total - fee), "USD"),
        ("house/fees", usd(fee), "USD"),
        ("house/trading", other, "BTC"),
        (owner, quantity.to_owned(), "BTC"),
    ];
    posting(entries.map(|(owner, value, unit)| (owner, value, unit)).to_vec())
}

fn posting(entries: Vec<(&str, String, &str)>) -> api::PostTransactionRequest {
    let entry = |(owner, value, unit): (&str, String, &str)| api::Entry {
        owner: owner.to_owned(),
        amount: Some(Amount { value, unit: unit.to_owned() }),
    };
    api::PostTransactionRequest {
        request_id: request_id(),
        kind: "trade".to_owned(),
        reference: kit::id::new("ord", Timestamp::from_seconds(1)),
        entries: entries.into_iter().map(entry).collect(),
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

/// Links to a catalog that knows dollars, bitcoin at 50 000 and ether without a price.
fn links() -> Links {
    let routes = Routes::new(ProductServiceServer::new(Catalog)).add_service(MarketDataServiceServer::new(Catalog));
    Links::new().add("catalog", Link::new(routes.prepare()))
}

/// A link that carries each call as `workload` would, without the layers.
fn link_as(workload: &'static str, routes: Routes) -> Link {
    let routes = routes.prepare();
    Link::new(tower::service_fn(move |request| {
        let mut routes = routes.clone();
        let call = Call::background(workload, Duration::from_secs(60));
        kit::call::run(call, async move { routes.call(request).await })
    }))
}

struct Catalog;

#[tonic::async_trait]
impl ProductService for Catalog {
    async fn get_product(
        &self,
        _: Request<catalog::GetProductRequest>,
    ) -> Result<Response<catalog::GetProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_products(
        &self,
        _: Request<catalog::ListProductsRequest>,
    ) -> Result<Response<catalog::ListProductsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn search_products(
        &self,
        _: Request<catalog::SearchProductsRequest>,
    ) -> Result<Response<catalog::SearchProductsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_product(
        &self,
        _: Request<catalog::CreateProductRequest>,
    ) -> Result<Response<catalog::CreateProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn update_product(
        &self,
        _: Request<catalog::UpdateProductRequest>,
    ) -> Result<Response<catalog::UpdateProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn archive_product(
        &self,
        _: Request<catalog::ArchiveProductRequest>,
    ) -> Result<Response<catalog::ArchiveProductResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_variant(
        &self,
        _: Request<catalog::CreateVariantRequest>,
    ) -> Result<Response<catalog::CreateVariantResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_variant(
        &self,
        _: Request<catalog::GetVariantRequest>,
    ) -> Result<Response<catalog::GetVariantResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn archive_variant(
        &self,
        _: Request<catalog::ArchiveVariantRequest>,
    ) -> Result<Response<catalog::ArchiveVariantResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_units(
        &self,
        _: Request<catalog::ListUnitsRequest>,
    ) -> Result<Response<catalog::ListUnitsResponse>, Status> {
        let unit =
            |(code, kind, scale): (&str, Kind, i32)| catalog::Unit { code: code.to_owned(), kind: kind.into(), scale };
        let units = [("USD", Kind::Fiat, 2), ("BTC", Kind::Asset, 8), ("ETH", Kind::Asset, 8)].map(unit);
        Ok(Response::new(catalog::ListUnitsResponse { units: units.to_vec() }))
    }
}

#[tonic::async_trait]
impl MarketDataService for Catalog {
    type WatchTickersStream = futures::stream::Pending<Result<catalog::WatchTickersResponse, Status>>;

    async fn get_ticker(
        &self,
        _: Request<catalog::GetTickerRequest>,
    ) -> Result<Response<catalog::GetTickerResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_tickers(
        &self,
        _: Request<catalog::ListTickersRequest>,
    ) -> Result<Response<catalog::ListTickersResponse>, Status> {
        let last = Some(Price { value: "50000".to_owned(), currency: "USD".to_owned() });
        let ticker = catalog::Ticker { unit: "BTC".to_owned(), last, ..Default::default() };
        Ok(Response::new(catalog::ListTickersResponse { tickers: vec![ticker] }))
    }

    async fn watch_tickers(
        &self,
        _: Request<catalog::WatchTickersRequest>,
    ) -> Result<Response<Self::WatchTickersStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
