//! List prices and promotions.

use contracts::catalog::v1::{CatalogEvent, catalog_event::Event};
use prost::Message;
use storage::{Unit, testing::Database};

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn mug() -> String {
    kit::id::derive("var", "catalog", "MUG-BLUE-350")
}

fn money(value: &str, unit: &str) -> Amount {
    Amount { value: value.into(), unit: unit.into() }
}

async fn set_price(
    service: &Service,
    variant_id: String,
    amount: Amount,
    start: Option<Timestamp>,
) -> Result<ListPrice, Error> {
    set_price_of(service, (variant_id, String::new()), amount, start).await
}

async fn set_price_of(
    service: &Service,
    (variant_id, etag): (String, String),
    amount: Amount,
    start: Option<Timestamp>,
) -> Result<ListPrice, Error> {
    let (request_id, start_time) = (String::new(), start.map(Timestamp::to_proto));
    let request = UpdateListPriceRequest { request_id, variant_id, amount: Some(amount), start_time, etag };
    as_user(ALICE, service.update_list_price(Request::new(request))).await.map(|reply| reply.list_price.unwrap())
}

async fn prices(service: &Service, variant_id: String) -> Result<Vec<(String, String)>, Error> {
    let request = ListListPricesRequest { variant_id };
    let reply = as_user(ALICE, service.list_list_prices(Request::new(request))).await?;
    let amounts = reply.list_prices.into_iter().filter_map(|price| price.amount);
    Ok(amounts.map(|amount| (amount.value, amount.unit)).collect())
}

async fn shown(service: &Service) -> (String, Option<Amount>) {
    let request = GetProductRequest { id: kit::id::derive("prd", "catalog", "good MUG") };
    let product = as_nobody(service.get_product(Request::new(request))).await.unwrap().product.unwrap();
    let variant = product.variants.into_iter().find(|variant| variant.id == mug()).unwrap();
    (product.etag, variant.list_price)
}

#[tokio::test]
async fn a_price_takes_over_at_its_time_and_the_old_ones_are_remembered() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        clock.advance(SECOND);
        set_price(&service, mug(), money("15.50", "USD"), None).await.unwrap();
        let later = set_price(&service, mug(), money("16", "USD"), Some(START + HOUR)).await.unwrap();
        assert_eq!(later.amount, Some(money("16.00", "USD")));
        set_price(&service, mug(), money("2150", "JPY"), None).await.unwrap();
        assert_eq!(shown(&service).await, ("\"v4\"".to_owned(), Some(money("15.50", "USD"))));
        clock.advance(HOUR);
        assert_eq!(shown(&service).await.1, Some(money("16.00", "USD")));
        let all = prices(&service, mug()).await.unwrap();
        let of = |value: &str, unit: &str| (value.to_owned(), unit.to_owned());
        let expected =
            [of("16.00", "USD"), of("2150", "JPY"), of("15.50", "USD"), of("13.90", "EUR"), of("14.90", "USD")];
        assert_eq!(all, expected);
        const OUTBOX: &str = "SELECT payload FROM outbox WHERE aggregate = $1 AND sequence = 3";
        let id = kit::id::derive("prd", "catalog", "good MUG");
        let row = service.0.db.read(async |session| session.row(OUTBOX, &[(&id).into()]).await).await.unwrap().unwrap();
        let fact = CatalogEvent::decode(row.bytes(0).unwrap().as_slice()).unwrap();
        assert_eq!(fact.event, Some(Event::PriceChanged(PriceChanged { list_price: Some(later) })));
    }
}

#[tokio::test]
async fn of_two_prices_that_were_based_on_the_same_version_one_is_refused() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        clock.advance(SECOND);
        let read = shown(&service).await.0;
        let set = |value: &'static str| set_price_of(&service, (mug(), read.clone()), money(value, "USD"), None);
        set("15.50").await.unwrap();
        let refused = set("16").await.unwrap_err();
        let (etag, price) = shown(&service).await;
        assert_eq!((refused.reason(), refused.metadata("etag")), ("ETAG_MISMATCH", Some(etag.as_str())));
        assert_eq!(price, Some(money("15.50", "USD")), "the first holds");
    }
}

#[tokio::test]
async fn a_price_that_breaks_a_rule_is_refused() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        clock.advance(SECOND);
        for (variant, amount, start, reason) in [
            (mug(), money("0", "USD"), None, "AMOUNT_OUT_OF_RANGE"),
            (mug(), money("-1", "USD"), None, "AMOUNT_OUT_OF_RANGE"),
            (mug(), money("1", "BTC"), None, "UNIT_MISMATCH"),
            (mug(), money("1", "NOPE"), None, "UNIT_MISMATCH"),
            (mug(), money("1.5", "JPY"), None, "SCALE_EXCEEDED"),
            (mug(), money("1", "USD"), Some(START), "INVALID_FIELD"),
            (kit::id::new("var", START), money("1", "USD"), None, "RESOURCE_NOT_FOUND"),
        ] {
            let refused = set_price(&service, variant, amount.clone(), start).await.unwrap_err();
            assert_eq!(refused.reason(), reason, "{amount:?}");
            let field = match reason {
                "UNIT_MISMATCH" => Some("amount.unit"),
                "AMOUNT_OUT_OF_RANGE" | "SCALE_EXCEEDED" => Some("amount.value"),
                _ => continue,
            };
            assert_eq!(refused.metadata("field"), field, "{amount:?}");
        }
        assert_eq!(prices(&service, kit::id::new("var", START)).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let archive = ArchiveVariantRequest { id: mug(), ..Default::default() };
        as_user(ALICE, service.archive_variant(Request::new(archive))).await.unwrap();
        let refused = set_price(&service, mug(), money("1", "USD"), None).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_STATE_TRANSITION");
        let other = kit::id::derive("var", "catalog", "MUG-WHITE-350");
        for number in 1..=100 {
            let start = Some(START + HOUR * number);
            set_price(&service, other.clone(), money("1", "USD"), start).await.unwrap();
        }
        let refused = set_price(&service, other, money("1", "USD"), Some(START + HOUR * 101)).await.unwrap_err();
        assert_eq!(refused.reason(), "LIMIT_EXCEEDED");
    }
}

fn sale(title: &str) -> CreatePromotionRequest {
    CreatePromotionRequest { title: title.into(), discount_bps: 1_000, ..Default::default() }
}

async fn announce(service: &Service, request: CreatePromotionRequest) -> Result<Promotion, Error> {
    as_user(ALICE, service.create_promotion(Request::new(request))).await.map(|reply| reply.promotion.unwrap())
}

#[tokio::test]
async fn promotions_are_listed_the_newest_first_and_end_once() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        let mut announced = vec![];
        for title in ["First", "Second", "Third"] {
            clock.advance(SECOND);
            announced.push(announce(&service, sale(title)).await.unwrap());
        }
        assert_eq!(announced[0].start_time, Some((START + SECOND).to_proto()), "from now on if nobody says when");
        let page = |page_token: String| {
            as_user(ALICE, service.list_promotions(Request::new(ListPromotionsRequest { page_size: 2, page_token })))
        };
        let first = page(String::new()).await.unwrap();
        let second = page(first.next_page_token.clone()).await.unwrap();
        assert_eq!(
            [first.promotions, second.promotions].concat(),
            [&announced[2], &announced[1], &announced[0]].map(Clone::clone)
        );
        assert_eq!(second.next_page_token, "");
        let end = |id: &str| {
            let request = EndPromotionRequest { request_id: String::new(), id: id.to_owned() };
            as_user(ALICE, service.end_promotion(Request::new(request)))
        };
        let ended = end(&announced[0].id).await.unwrap().promotion.unwrap();
        assert_eq!(ended.end_time, Some(clock.now().to_proto()));
        assert_eq!(end(&announced[0].id).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        assert_eq!(end(&kit::id::new("prm", START)).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_promotion_that_breaks_a_rule_is_refused_and_a_repeat_makes_no_second() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let at = |time: Timestamp| Some(time.to_proto());
        for request in [
            CreatePromotionRequest { category: "nowhere".into(), ..sale("Sale") },
            CreatePromotionRequest { end_time: at(START), ..sale("Sale") },
            CreatePromotionRequest { start_time: at(START + HOUR), end_time: at(START + HOUR), ..sale("Sale") },
        ] {
            assert_eq!(announce(&service, request).await.unwrap_err().reason(), "INVALID_FIELD");
        }
        let request_id = "0c4f4d3e-6f2b-4f0a-9a6b-0d7c5e6f7a82".to_owned();
        let request = CreatePromotionRequest { request_id, category: "books".into(), ..sale("Books") };
        let first = announce(&service, request.clone()).await.unwrap();
        assert_eq!(announce(&service, request).await.unwrap(), first);
        let listed = as_user(ALICE, service.list_promotions(Request::new(ListPromotionsRequest::default()))).await;
        assert_eq!(listed.unwrap().promotions, [first]);
    }
}

#[tokio::test]
async fn no_two_promotions_that_have_not_ended_share_a_code() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        let coded = |title: &str| CreatePromotionRequest { code: "SPRING".into(), ..sale(title) };
        let hour = |title: &str| CreatePromotionRequest { end_time: Some((START + HOUR).to_proto()), ..coded(title) };
        announce(&service, hour("First")).await.unwrap();
        announce(&service, sale("Without a code")).await.unwrap();
        announce(&service, sale("Another without")).await.unwrap();
        let refused = announce(&service, coded("Second")).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("code")), ("ALREADY_EXISTS_NAME", Some("SPRING")));
        clock.advance(HOUR);
        let second = announce(&service, coded("Second")).await.unwrap();
        assert_eq!(announce(&service, coded("Third")).await.unwrap_err().reason(), "ALREADY_EXISTS_NAME");
        let end = EndPromotionRequest { request_id: String::new(), id: second.id };
        as_user(ALICE, service.end_promotion(Request::new(end))).await.unwrap();
        announce(&service, coded("Third")).await.unwrap();
    }
}

/// As it was before codes were their own: the one without an end is ended before the other ends by itself.
#[tokio::test]
async fn a_code_that_two_promotions_share_is_free_when_the_last_of_them_ends() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        let coded = |title: &str| CreatePromotionRequest { code: "SPRING".into(), ..sale(title) };
        let endless = announce(&service, coded("Endless")).await.unwrap();
        let brief = CreatePromotionRequest { end_time: Some((START + HOUR).to_proto()), ..sale("Brief") };
        announce(&service, brief).await.unwrap();
        let share = async |unit: &mut Unit| unit.exec("UPDATE promotions SET code = 'SPRING'", &[]).await;
        service.0.db.write(share).await.unwrap();

        let end = EndPromotionRequest { request_id: String::new(), id: endless.id };
        as_user(ALICE, service.end_promotion(Request::new(end))).await.unwrap();
        assert_eq!(announce(&service, coded("Next")).await.unwrap_err().reason(), "ALREADY_EXISTS_NAME");
        clock.advance(HOUR);
        announce(&service, coded("Next")).await.unwrap();
    }
}

/// The service, and another process over the same database; on SQLite, which is for one process, the same.
async fn replicas(database: &Database) -> [Service; 2] {
    let (first, _) = service(database.url(), Settings::default()).await;
    let second =
        if database.is_postgres() { service(database.url(), Settings::default()).await.0 } else { first.clone() };
    [first, second]
}

/// As it was before codes were their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_two_promotions_share_is_free_when_both_are_ended_at_once() {
    for database in each_database().await {
        let services = replicas(&database).await;
        for round in 0..10 {
            let mut ids = vec![];
            for title in ["First", "Second"] {
                let code = format!("ROUND-{round}-{}", title.to_uppercase());
                let request = CreatePromotionRequest { code, ..sale(title) };
                ids.push(announce(&services[0], request).await.unwrap().id);
            }
            let code = format!("ROUND-{round}-FIRST");
            let share = async |unit: &mut Unit| {
                let sql = "UPDATE promotions SET code = $1 WHERE id = $2";
                unit.exec(sql, &[(&code).into(), (&ids[1]).into()]).await
            };
            services[0].0.db.write(share).await.unwrap();

            let ended = services.iter().zip(ids).map(|(service, id)| {
                let (service, request) = (service.clone(), EndPromotionRequest { request_id: String::new(), id });
                tokio::spawn(async move { as_user(ALICE, service.end_promotion(Request::new(request))).await })
            });
            for ended in futures::future::join_all(ended).await {
                ended.unwrap().unwrap();
            }
            announce(&services[0], CreatePromotionRequest { code, ..sale("Next") }).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_promotions_that_are_announced_at_once_one_gets_the_code() {
    for database in each_database().await {
        let services = replicas(&database).await;
        let coded = || CreatePromotionRequest { code: "SPRING".into(), ..sale("Sale") };
        let announced = services.iter().cycle().take(8).map(|service| {
            let service = service.clone();
            tokio::spawn(async move { announce(&service, coded()).await })
        });
        let answers = futures::future::join_all(announced).await.into_iter().map(Result::unwrap);
        let (given, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(given.len(), 1);
        for refused in refused {
            let refused = refused.unwrap_err();
            assert!(refused.reason() == "ALREADY_EXISTS_NAME" || refused.retryable(), "{refused}");
        }
        let late = announce(&services[1], coded()).await.unwrap_err();
        assert_eq!((late.reason(), late.metadata("code")), ("ALREADY_EXISTS_NAME", Some("SPRING")));
    }
}
