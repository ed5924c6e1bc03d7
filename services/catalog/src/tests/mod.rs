//! The service as its callers meet it, on both databases.

use std::{sync::Once, time::Duration};

use contracts::{
    catalog::v1::{
        asset_service_server::AssetService, category_service_server::CategoryService,
        market_data_service_server::MarketDataService, pricing_service_server::PricingService,
        product_service_server::ProductService, *,
    },
    r#type::v1::{Amount, Price},
};
use futures::{FutureExt, StreamExt};
use kit::{Call, Caller, Clock, Error, Timestamp, drain::Drain, link::Links};
use storage::{Db, Options, testing::each_database};
use tonic::{Request, Response, Status};

use crate::{MIGRATIONS, Service, Settings, feed::Tick};

mod catalogue;
mod goods;
mod promotions;
mod purchases;

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
const SECOND: Duration = Duration::from_secs(1);
const ALICE: &str = "usr_01h455vb4pex5vsknk084sn02q";
const BOB: &str = "usr_01h455vb4pex5vsknk084sn02r";

/// Makes reasons known to errors.
pub fn install_contract() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        kit::contract::install(kit::contract::Contract::parse(contracts::DESCRIPTORS).unwrap().into());
    });
}

/// A seeded catalogue with one price, that of BTC, and its clock.
async fn service(url: &str, settings: Settings) -> (Service, Clock) {
    install_contract();
    let clock = Clock::manual(START);
    let options = Options { migrations: MIGRATIONS, ..Options::new("catalog", clock.clone()) };
    let db = Db::open(url, options).await.unwrap();
    let service = Service::new(db, &Links::new(), settings).await.unwrap();
    service.seed().await.unwrap();
    trade_at(&service, &clock, 60_000);
    (service, clock)
}

/// Moves the market of BTC: bought at `dollars`, sold ten dollars dearer.
fn trade_at(service: &Service, clock: &Clock, dollars: i64) {
    let (bid, ask) = (dollars * 100_000_000, (dollars + 10) * 100_000_000);
    let observe_time = clock.now();
    service.market().publish(vec![Tick { unit: "BTC".into(), bid, ask, last: bid, day_ago: None, observe_time }]);
}

async fn as_user<T>(user: &str, work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    let caller = Caller {
        user: user.to_owned(),
        roles: vec![],
        session: "ses_1".to_owned(),
        token_expires: START + SECOND * 600,
        token: "".into(),
    };
    let call = Call { caller: Some(caller.into()), ..Call::background("edge", SECOND * 60) };
    kit::call::run(call, work).await.map(Response::into_inner).map_err(Error::from)
}

async fn as_nobody<T>(work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    let call = Call::background("edge", SECOND * 60);
    kit::call::run(call, work).await.map(Response::into_inner).map_err(Error::from)
}

fn trade(side: Side, value: &str, unit: &str) -> Request<CreateQuoteRequest> {
    let quantity = Amount { value: value.to_owned(), unit: unit.to_owned() };
    Request::new(CreateQuoteRequest { side: side.into(), quantity: Some(quantity) })
}

async fn units_of(service: &Service, category: &str, page_size: i32) -> Vec<String> {
    let (mut units, mut page_token) = (vec![], String::new());
    loop {
        let request = ListAssetsRequest { page_size, page_token, category: category.to_owned() };
        let page = as_nobody(service.list_assets(Request::new(request))).await.unwrap();
        assert!(page.products.len() <= 200);
        units.extend(page.products.into_iter().map(|product| product.unit));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return units;
        }
    }
}

async fn found(service: &Service, query: &str) -> Vec<String> {
    let request = SearchProductsRequest { query: query.to_owned(), page_size: 200, ..Default::default() };
    let reply = as_nobody(service.search_products(Request::new(request))).await.unwrap();
    reply.products.into_iter().map(|product| product.unit).collect()
}

#[tokio::test]
async fn pages_hold_every_asset_once_in_the_order_of_units() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let all = units_of(&service, "", 200).await;
        assert!(all.len() >= 110);
        assert!(all.is_sorted());
        for size in [1, 7, all.len() as i32] {
            assert_eq!(units_of(&service, "", size).await, all);
        }
        let few = units_of(&service, "metals", 2).await;
        assert_eq!(few, ["KAG", "KAU", "PAXG", "XAUT"]);
        assert!(units_of(&service, "no-such-category", 2).await.is_empty());
    }
}

#[tokio::test]
async fn a_page_token_does_not_open_the_list_of_another_category() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let list = |category: &str, page_token: String| {
            Request::new(ListAssetsRequest { page_size: 2, page_token, category: category.to_owned() })
        };
        let page = as_nobody(service.list_assets(list("metals", String::new()))).await.unwrap();
        let refused = as_nobody(service.list_assets(list("defi", page.next_page_token))).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN");
    }
}

#[tokio::test]
async fn a_search_ranks_the_unit_before_its_beginning_before_a_name_before_a_description() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        // STETH has the word only in its description, as ETHFI begins with it and ETC has it in its name.
        let ether = found(&service, "ETH").await;
        assert_eq!(ether[..2], ["ETH", "ETHFI"]);
        let (name, description) = (position(&ether, "ETC"), position(&ether, "STETH"));
        assert!(name < description, "{ether:?}");
        assert_eq!(found(&service, "bitcoin").await[..2], ["BTC", "BCH"], "its very name comes first");
        assert_eq!(found(&service, "gold ounce").await, ["PAXG", "XAUT"]);
        assert_eq!(found(&service, "dogw").await, ["WIF"]);
        assert!(found(&service, "zzz").await.is_empty());
        assert!(found(&service, "BTC' OR '1'='1").await.is_empty());
        let empty = SearchProductsRequest { query: "%_%".to_owned(), ..Default::default() };
        let refused = as_nobody(service.search_products(Request::new(empty))).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_FIELD");
    }
}

fn position(units: &[String], unit: &str) -> usize {
    units.iter().position(|found| found == unit).unwrap()
}

#[tokio::test]
async fn seeding_again_changes_nothing_and_mends_what_was_lost() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        let list = async || {
            let request = ListProductsRequest { page_size: 200, ..Default::default() };
            as_nobody(service.list_products(Request::new(request))).await.unwrap().products
        };
        let before = list().await;
        clock.advance(SECOND);
        service.seed().await.unwrap();
        assert_eq!(list().await, before);
        let damage = async |unit: &mut storage::Unit| {
            unit.exec("UPDATE products SET name = $1 WHERE unit = 'BTC'", &["Bytecoin".into()]).await?;
            unit.exec("DELETE FROM products WHERE unit = 'ETH'", &[]).await
        };
        service.0.db.write(damage).await.unwrap();
        assert_ne!(list().await, before);
        service.seed().await.unwrap();
        let names = |products: Vec<Product>| products.into_iter().map(|p| (p.id, p.name)).collect::<Vec<_>>();
        assert_eq!(names(list().await), names(before));
    }
}

#[tokio::test]
async fn replicas_may_seed_at_once() {
    install_contract();
    for database in each_database().await {
        let options = Options { migrations: MIGRATIONS, ..Options::new("catalog", Clock::manual(START)) };
        let db = Db::open(database.url(), options).await.unwrap();
        let service = Service::new(db, &Links::new(), Settings::default()).await.unwrap();
        let seeded = futures::future::join_all((0..4).map(|_| service.seed())).await;
        assert!(seeded.iter().all(Result::is_ok), "{seeded:?}");
        assert!(units_of(&service, "", 200).await.len() >= 110);
    }
}

#[tokio::test]
async fn categories_count_their_products_and_units_name_currencies_and_assets() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let categories = as_nobody(service.list_categories(Request::new(ListCategoriesRequest {}))).await.unwrap();
        let units = as_nobody(service.list_units(Request::new(ListUnitsRequest {}))).await.unwrap().units;
        let metals = categories.categories.iter().find(|category| category.name == "metals").unwrap();
        assert_eq!((metals.title.as_str(), metals.product_count), ("Tokenised metals", 4));
        let counted: i32 = categories.categories.iter().map(|category| category.product_count).sum();
        assert_eq!(counted as usize - 60 + 5, units.len(), "60 goods are counted in no unit, 5 units are currencies");
        let books = categories.categories.iter().find(|category| category.name == "books").unwrap();
        assert_eq!((books.title.as_str(), books.product_count), ("Books", 8));
        let scale = |code: &str| units.iter().find(|unit| unit.code == code).map(|unit| (unit.kind(), unit.scale));
        assert_eq!(scale("USD"), Some((unit::Kind::Fiat, 2)));
        assert_eq!(scale("JPY"), Some((unit::Kind::Fiat, 0)));
        assert_eq!(scale("BTC"), Some((unit::Kind::Asset, 8)));
    }
}

#[tokio::test]
async fn a_product_is_shown_by_its_id() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let get = |id: String| service.get_product(Request::new(GetProductRequest { id }));
        let product = as_nobody(get(kit::id::derive("prd", "catalog", "BTC"))).await.unwrap().product.unwrap();
        assert_eq!((product.unit.as_str(), product.name.as_str(), product.scale), ("BTC", "Bitcoin", 8));
        assert_eq!(product.create_time, Some(START.to_proto()));
        let absent = as_nobody(get(kit::id::new("prd", START))).await.unwrap_err();
        assert_eq!(absent.reason(), "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_quote_comes_back_whole_to_its_owner_and_to_no_one_else() {
    let database = storage::testing::Database::sqlite();
    let (service, clock) = service(database.url(), Settings::default()).await;
    let quote = as_user(ALICE, service.create_quote(trade(Side::Buy, "0.01", "BTC"))).await.unwrap().quote.unwrap();
    assert_eq!(quote.price, Some(Price { value: "60010.00".into(), currency: "USD".into() }));
    assert_eq!(quote.total, Some(Amount { value: "600.71".into(), unit: "USD".into() }));
    let verify = |owner: &str, token: &str, max_slippage_bps| {
        let (token, owner_id) = (token.to_owned(), owner.to_owned());
        service.verify_quote(Request::new(VerifyQuoteRequest { token, owner_id, max_slippage_bps }))
    };
    let verified = as_nobody(verify(ALICE, &quote.token, 0)).await.unwrap();
    assert_eq!(verified.quote.as_ref(), Some(&quote));
    kit::id::check("quo", &verified.quote_id).unwrap();
    assert_eq!(as_nobody(verify(ALICE, &quote.token, 0)).await.unwrap(), verified, "the id is that of the token");
    for refused in [verify(BOB, &quote.token, 0), verify(ALICE, &quote.token[1..], 0), verify(ALICE, "", 0)] {
        assert_eq!(as_nobody(refused).await.unwrap_err().reason(), "QUOTE_INVALID");
    }
    trade_at(&service, &clock, 60_700);
    assert_eq!(as_nobody(verify(ALICE, &quote.token, 0)).await.unwrap_err().reason(), "SLIPPAGE_EXCEEDED");
    trade_at(&service, &clock, 60_100);
    assert_eq!(as_nobody(verify(ALICE, &quote.token, 1)).await.unwrap_err().reason(), "SLIPPAGE_EXCEEDED");
    assert!(as_nobody(verify(ALICE, &quote.token, 0)).await.is_ok());
    clock.advance(SECOND * 20);
    assert_eq!(as_nobody(verify(ALICE, &quote.token, 0)).await.unwrap_err().reason(), "PRICE_STALE");
    clock.advance(SECOND * 10);
    assert_eq!(as_nobody(verify(ALICE, &quote.token, 0)).await.unwrap_err().reason(), "QUOTE_EXPIRED");
}

#[tokio::test]
async fn what_cannot_be_priced_is_refused_with_the_unit() {
    let database = storage::testing::Database::sqlite();
    let (service, _clock) = service(database.url(), Settings::default()).await;
    for (side, value, unit, reason) in [
        (Side::Buy, "1", "NOPE", "UNIT_MISMATCH"),
        (Side::Buy, "1", "EUR", "UNIT_MISMATCH"),
        (Side::Buy, "0.000000001", "BTC", "SCALE_EXCEEDED"),
        (Side::Buy, "0", "BTC", "AMOUNT_OUT_OF_RANGE"),
        (Side::Sell, "-1", "BTC", "AMOUNT_OUT_OF_RANGE"),
        (Side::Sell, "0.00000001", "BTC", "AMOUNT_OUT_OF_RANGE"),
        (Side::Buy, "999999999999999999", "BTC", "AMOUNT_OUT_OF_RANGE"),
        (Side::Buy, "1", "ETH", "PRICE_STALE"),
    ] {
        let refused = as_user(ALICE, service.create_quote(trade(side, value, unit))).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("unit")), (reason, Some(unit)), "{side:?} {value} {unit}");
        let field = match reason {
            "UNIT_MISMATCH" => Some("quantity.unit"),
            "PRICE_STALE" => None,
            _ => Some("quantity.value"),
        };
        assert_eq!(refused.metadata("field"), field, "{side:?} {value} {unit}");
    }
    let nothing = CreateQuoteRequest { side: Side::Unspecified.into(), quantity: None };
    let refused = as_user(ALICE, service.create_quote(Request::new(nothing))).await.unwrap_err();
    assert_eq!(refused.reason(), "INVALID_FIELD");
}

#[tokio::test]
async fn a_trade_is_priced_unless_the_market_is_past_the_limit() {
    let database = storage::testing::Database::sqlite();
    let (service, _clock) = service(database.url(), Settings::default()).await;
    let price = |side: Side, limit: &str, currency: &str| {
        let quantity = Some(Amount { value: "0.01".into(), unit: "BTC".into() });
        let limit_price = Some(Price { value: limit.to_owned(), currency: currency.to_owned() });
        service.price_trade(Request::new(PriceTradeRequest { side: side.into(), quantity, limit_price }))
    };
    let quote = as_nobody(price(Side::Buy, "60010", "USD")).await.unwrap().quote.unwrap();
    assert_eq!((quote.token.as_str(), quote.total.unwrap().value.as_str()), ("", "600.71"));
    assert!(as_nobody(price(Side::Sell, "60000", "USD")).await.is_ok());
    let past = as_nobody(price(Side::Buy, "60009.99", "USD")).await.unwrap_err();
    assert_eq!((past.reason(), past.metadata("price")), ("SLIPPAGE_EXCEEDED", Some("60010.00")));
    assert!(!past.message().contains("quote"), "there was none: {past}");
    assert_eq!(as_nobody(price(Side::Sell, "60000.01", "USD")).await.unwrap_err().reason(), "SLIPPAGE_EXCEEDED");
    let refused = as_nobody(price(Side::Buy, "60010", "EUR")).await.unwrap_err();
    assert_eq!(refused.reason(), "UNIT_MISMATCH");
    assert_eq!(refused.metadata("field"), Some("market_trade.limit_price.currency"), "as the order has it");
}

#[tokio::test]
async fn tickers_are_shown_for_units_that_exist() {
    let database = storage::testing::Database::sqlite();
    let (service, _clock) = service(database.url(), Settings::default()).await;
    let get = |unit: &str| service.get_ticker(Request::new(GetTickerRequest { unit: unit.to_owned() }));
    let list = |units: &[&str]| {
        let units = units.iter().map(|unit| (*unit).to_owned()).collect();
        service.list_tickers(Request::new(ListTickersRequest { units }))
    };
    let ticker = as_nobody(get("BTC")).await.unwrap().ticker.unwrap();
    assert_eq!(ticker.bid.as_ref().unwrap().value, "60000.00");
    assert_eq!(ticker.observe_time, Some(START.to_proto()));
    assert_eq!(as_nobody(get("NOPE")).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
    assert_eq!(as_nobody(list(&[])).await.unwrap().tickers, vec![ticker.clone()]);
    assert_eq!(as_nobody(list(&["USD", "BTC"])).await.unwrap().tickers, [ticker]);
    assert!(as_nobody(list(&["USD"])).await.unwrap().tickers.is_empty());
    assert_eq!(as_nobody(list(&["BTC", "NOPE"])).await.unwrap_err().reason(), "UNIT_MISMATCH");
}

#[tokio::test]
async fn a_stream_follows_the_feed_until_the_drain() {
    let database = storage::testing::Database::sqlite();
    let (service, clock) = service(database.url(), Settings::default()).await;
    let (drain, draining) = Drain::new();
    let events = storage::testing::Database::sqlite();
    let log = storage::Log::open(&format!("sql:{}", events.url()), clock.clone()).await.unwrap();
    let running = tokio::spawn(service.clone().run(log, draining));
    let request = WatchTickersRequest { units: vec![] };
    let mut stream = as_nobody(service.watch_tickers(Request::new(request))).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 110 {
        seen.extend(stream.next().await.unwrap().unwrap().tickers.into_iter().map(|ticker| ticker.unit));
    }
    clock.advance(SECOND);
    let changed = stream.next().await.unwrap().unwrap().tickers;
    assert!(!changed.is_empty() && changed.len() < seen.len());
    drain.start();
    running.await.unwrap();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_user_has_a_limit_of_streams_and_closing_one_makes_room() {
    let database = storage::testing::Database::sqlite();
    let settings = Settings { watches_per_user: 2, watches_max: 6, ..Settings::default() };
    let (service, clock) = service(database.url(), settings).await;
    let watch = || service.watch_tickers(Request::new(WatchTickersRequest { units: vec!["BTC".into()] }));
    let mut first = as_user(ALICE, watch()).await.unwrap();
    let _second = as_user(ALICE, watch()).await.unwrap();
    assert_eq!(as_user(ALICE, watch()).await.err().unwrap().reason(), "LIMIT_EXCEEDED");
    let _other = as_user(BOB, watch()).await.unwrap();
    assert_eq!(first.next().await.unwrap().unwrap().tickers.len(), 1);
    assert!(first.next().now_or_never().is_none());
    drop(first);
    let mut again = as_user(ALICE, watch()).await.unwrap();
    again.next().await.unwrap().unwrap();
    clock.advance(Settings::default().watch_age_max);
    assert!(again.next().await.is_none(), "a stream ends with its age");
}
