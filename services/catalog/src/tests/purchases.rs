//! What baskets cost, by quote and at the price of the moment.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn variant(sku: &str) -> String {
    kit::id::derive("var", "catalog", sku)
}

fn basket(items: &[(&str, i64)]) -> Basket {
    let item = |(sku, quantity): &(&str, i64)| Item { variant_id: variant(sku), quantity: *quantity };
    Basket { items: items.iter().map(item).collect(), currency: "EUR".into(), ..Default::default() }
}

async fn quote(service: &Service, basket: Basket) -> Result<PurchaseQuote, Error> {
    let request = CreatePurchaseQuoteRequest { basket: Some(basket) };
    as_user(ALICE, service.create_purchase_quote(Request::new(request))).await.map(|reply| reply.quote.unwrap())
}

async fn price(service: &Service, basket: Basket) -> Result<PurchaseQuote, Error> {
    let request = PricePurchaseRequest { basket: Some(basket) };
    as_nobody(service.price_purchase(Request::new(request))).await.map(|reply| reply.quote.unwrap())
}

async fn verify(service: &Service, owner: &str, token: &str) -> Result<VerifyPurchaseQuoteResponse, Error> {
    let request = VerifyPurchaseQuoteRequest { token: token.into(), owner_id: owner.into() };
    as_nobody(service.verify_purchase_quote(Request::new(request))).await
}

async fn set_price(service: &Service, sku: &str, value: &str) {
    let amount = Some(Amount { value: value.into(), unit: "EUR".into() });
    let request = UpdateListPriceRequest { variant_id: variant(sku), amount, ..Default::default() };
    as_user(ALICE, service.update_list_price(Request::new(request))).await.unwrap();
}

async fn archive(service: &Service, sku: &str) {
    let request = ArchiveVariantRequest { id: variant(sku), ..Default::default() };
    as_user(ALICE, service.archive_variant(Request::new(request))).await.unwrap();
}

async fn announce(service: &Service, discount_bps: i32, code: &str) {
    let (title, code) = ("Sale".to_owned(), code.to_owned());
    let request = CreatePromotionRequest { title, discount_bps, code, ..Default::default() };
    as_user(ALICE, service.create_promotion(Request::new(request))).await.unwrap();
}

fn eur(value: &str) -> Option<Amount> {
    Some(Amount { value: value.into(), unit: "EUR".into() })
}

#[tokio::test]
async fn a_quote_shows_lines_shipping_and_taxes() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        announce(&service, 1_000, "").await;
        let quote = quote(&service, basket(&[("MUG-BLUE-350", 1), ("EBOOK-ORCHARD", 1), ("MUG-BLUE-350", 1)])).await;
        let quote = quote.unwrap();
        let [mug, book] = quote.lines.as_slice() else { panic!("{quote:?}") };
        assert_eq!((mug.sku.as_str(), mug.title.as_str()), ("MUG-BLUE-350", "Enamel mug (Blue, 350 ml)"));
        assert_eq!((mug.quantity, mug.kind(), mug.tax_bps), (2, product::Kind::PhysicalGood, 1_900));
        assert_eq!((mug.unit_price.clone(), mug.discount.clone()), (eur("13.90"), eur("2.78")));
        assert_eq!((mug.tax.clone(), mug.total.clone()), (eur("4.75"), eur("29.77")));
        assert_eq!((book.kind(), book.tax_bps, book.total.clone()), (product::Kind::DigitalGood, 700, eur("11.46")));
        assert_eq!(book.product_id, kit::id::derive("prd", "catalog", "good ORCHARD"));
        let sums = [&quote.subtotal, &quote.discount, &quote.shipping, &quote.tax, &quote.total];
        assert_eq!(sums.map(Clone::clone), ["39.70", "3.97", "4.90", "6.43", "47.06"].map(eur));
        let taxes: Vec<_> =
            quote.taxes.iter().map(|tax| (tax.title.as_str(), tax.base.clone(), tax.amount.clone())).collect();
        assert_eq!(taxes, [("VAT 19 %", eur("29.92"), eur("5.68")), ("VAT 7 %", eur("10.71"), eur("0.75"))]);
        assert_eq!((quote.country_code.as_str(), quote.expire_time), ("DE", Some((START + MINUTE * 15).to_proto())));
        let priced = price(&service, basket(&[("MUG-BLUE-350", 2), ("EBOOK-ORCHARD", 1)])).await.unwrap();
        assert_eq!(priced, PurchaseQuote { token: String::new(), ..quote });
    }
}

#[tokio::test]
async fn a_quote_comes_back_whole_to_its_owner_and_to_no_one_else() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        let quote = quote(&service, basket(&[("MUG-BLUE-350", 3), ("FONT-WEB", 1)])).await.unwrap();
        assert!(quote.token.len() < 500, "{}", quote.token.len());
        let verified = verify(&service, ALICE, &quote.token).await.unwrap();
        assert_eq!(verified.quote.as_ref(), Some(&quote));
        kit::id::check("quo", &verified.quote_id).unwrap();
        assert_eq!(verify(&service, ALICE, &quote.token).await.unwrap(), verified, "the id is that of the token");
        let trade = as_user(ALICE, service.create_quote(trade(Side::Buy, "0.01", "BTC"))).await.unwrap().quote.unwrap();
        for (owner, token, said) in [
            (BOB, quote.token.as_str(), "not given to you"),
            (BOB, &trade.token, "not given to you"),
            (ALICE, &quote.token[1..], "was altered"),
            (ALICE, "", "not given to you"),
            (ALICE, &trade.token, "quote of a trade"),
        ] {
            let refused = verify(&service, owner, token).await.unwrap_err();
            let field = refused.metadata("field");
            assert_eq!((refused.reason(), field), ("QUOTE_INVALID", Some("quoted_purchase.quote_token")));
            assert!(refused.message().contains(said), "{refused}");
        }
        let (token, owner_id) = (quote.token.clone(), ALICE.to_owned());
        let as_trade = VerifyQuoteRequest { token, owner_id, max_slippage_bps: 0 };
        let refused = as_nobody(service.verify_quote(Request::new(as_trade))).await.unwrap_err();
        let field = refused.metadata("field");
        assert_eq!((refused.reason(), field), ("QUOTE_INVALID", Some("quoted_trade.quote_token")));
        assert!(refused.message().contains("quote of a purchase"), "{refused}");
        clock.advance(MINUTE * 15);
        assert_eq!(verify(&service, ALICE, &quote.token).await.unwrap_err().reason(), "QUOTE_EXPIRED");
    }
}

#[tokio::test]
async fn a_quote_holds_its_price_but_not_what_is_sold_no_more() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        announce(&service, 1_000, "TENTH").await;
        let asked = Basket { promotion_code: " tenth".into(), ..basket(&[("MUG-BLUE-350", 1), ("TEE-BLACK-M", 1)]) };
        let quoted = quote(&service, asked.clone()).await.unwrap();
        assert_eq!(quoted.discount, eur("4.08"), "10 % of 13.90 and of 26.90");
        set_price(&service, "MUG-BLUE-350", "99").await;
        let promotions = as_user(ALICE, service.list_promotions(Request::new(ListPromotionsRequest::default()))).await;
        let id = promotions.unwrap().promotions.remove(0).id;
        let end = EndPromotionRequest { request_id: String::new(), id };
        as_user(ALICE, service.end_promotion(Request::new(end))).await.unwrap();
        assert_eq!(verify(&service, ALICE, &quoted.token).await.unwrap().quote, Some(quoted.clone()));
        let refused = quote(&service, asked.clone()).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("field")), ("INVALID_FIELD", Some("basket.promotion_code")));
        let asked = Basket { promotion_code: String::new(), ..asked };
        assert_eq!(price(&service, asked.clone()).await.unwrap().lines[0].unit_price, eur("99.00"));
        archive(&service, "TEE-BLACK-M").await;
        let gone = variant("TEE-BLACK-M");
        for refused in [
            verify(&service, ALICE, &quoted.token).await.unwrap_err(),
            quote(&service, asked.clone()).await.unwrap_err(),
            price(&service, asked).await.unwrap_err(),
        ] {
            assert_eq!((refused.reason(), refused.metadata("variant")), ("PRODUCT_UNAVAILABLE", Some(gone.as_str())));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_priced_is_refused() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let mug = || basket(&[("MUG-BLUE-350", 1)]);
        for (basket, reason, key, value) in [
            (Basket { country_code: "XX".into(), ..mug() }, "INVALID_FIELD", "field", "basket.country_code"),
            (Basket { currency: "BTC".into(), ..mug() }, "UNIT_MISMATCH", "unit", "BTC"),
            (Basket { currency: "NOK".into(), ..mug() }, "UNIT_MISMATCH", "unit", "NOK"),
            (Basket { currency: "NOK".into(), ..mug() }, "UNIT_MISMATCH", "field", "basket.currency"),
            (Basket { currency: "GBP".into(), ..mug() }, "PRODUCT_UNAVAILABLE", "variant", &variant("MUG-BLUE-350")),
            (Basket { promotion_code: "NOPE".into(), ..mug() }, "INVALID_FIELD", "field", "basket.promotion_code"),
            (basket(&[]), "INVALID_FIELD", "field", "basket.items"),
            (basket(&[("MUG-BLUE-350", 0)]), "INVALID_FIELD", "field", "basket.items.quantity"),
            (basket(&[("MUG-BLUE-350", 1), ("NOPE", 1)]), "PRODUCT_UNAVAILABLE", "variant", &variant("NOPE")),
        ] {
            for refused in [quote(&service, basket.clone()).await, price(&service, basket.clone()).await] {
                let refused = refused.unwrap_err();
                assert_eq!((refused.reason(), refused.metadata(key)), (reason, Some(value)), "{basket:?}");
            }
        }
        let nothing = CreatePurchaseQuoteRequest { basket: None };
        let refused = as_user(ALICE, service.create_purchase_quote(Request::new(nothing))).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_FIELD");
        let platform = Basket { currency: String::new(), country_code: "US".into(), ..mug() };
        let quote = quote(&service, platform).await.unwrap();
        assert_eq!(quote.total.unwrap(), Amount { value: "29.80".into(), unit: "USD".into() });
    }
}

#[tokio::test]
async fn pricing_costs_three_statements_cold_and_none_warm_whatever_the_number_of_lines() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        let skus: Vec<String> = crate::seeded_variants().unwrap().into_iter().map(|one| one.sku).collect();
        let large = basket(&skus.iter().take(90).map(|sku| (sku.as_str(), 2)).collect::<Vec<_>>());
        let small = basket(&[(&skus[0], 1), (&skus[95], 1)]);
        let counted = async |asked: &Basket| {
            let before = service.0.db.stats().statements;
            price(&service, asked.clone()).await.unwrap();
            service.0.db.stats().statements - before
        };
        // The units are asked for once in the life of a process.
        price(&service, small.clone()).await.unwrap();
        assert_eq!(counted(&small).await, 0);
        assert_eq!(counted(&large).await, 2, "only those that are missing, the promotions are there");
        assert_eq!([counted(&large).await, counted(&small).await], [0, 0]);
        clock.advance(service.0.settings.shelf_age_max);
        assert_eq!([counted(&large).await, counted(&large).await], [3, 0], "age empties the shelf");
        let quoted = quote(&service, large.clone()).await.unwrap();
        assert!(quoted.token.len() < 10_000, "{}", quoted.token.len());
        let before = service.0.db.stats().statements;
        verify(&service, ALICE, &quoted.token).await.unwrap();
        assert_eq!(service.0.db.stats().statements - before, 0);
        set_price(&service, &skus[0], "1").await;
        assert_eq!(counted(&small).await, 3, "a commit empties the shelf");
        assert_eq!(price(&service, small).await.unwrap().lines[0].unit_price, eur("1.00"));
    }
}

#[tokio::test]
async fn those_who_want_the_same_at_once_load_it_once() {
    let database = storage::testing::Database::sqlite();
    let (service, _clock) = service(database.url(), Settings::default()).await;
    let asked = basket(&[("MUG-BLUE-350", 1), ("TEE-BLACK-M", 1)]);
    service.currency_is_known().await;
    let before = service.0.db.stats().statements;
    let priced = futures::future::join_all((0..32).map(|_| price(&service, asked.clone()))).await;
    assert!(priced.iter().all(|result| result == &priced[0] && result.is_ok()));
    assert_eq!(service.0.db.stats().statements - before, 3);
}

impl Service {
    /// Loads the units, which are asked for once in the life of a process.
    async fn currency_is_known(&self) {
        self.0.units.get("EUR").await.unwrap();
    }
}

#[tokio::test]
async fn another_replica_sees_a_new_price_within_the_age_of_the_shelf() {
    for database in each_database().await {
        let (one, _clock) = service(database.url(), Settings::default()).await;
        let (other, clock) = service(database.url(), Settings::default()).await;
        let mug = basket(&[("MUG-BLUE-350", 1)]);
        assert_eq!(price(&other, mug.clone()).await.unwrap().lines[0].unit_price, eur("13.90"));
        set_price(&one, "MUG-BLUE-350", "20").await;
        assert_eq!(price(&one, mug.clone()).await.unwrap().lines[0].unit_price, eur("20.00"));
        clock.advance(other.0.settings.shelf_age_max);
        assert_eq!(price(&other, mug).await.unwrap().lines[0].unit_price, eur("20.00"));
    }
}

#[tokio::test]
async fn a_price_that_lies_ahead_takes_over_without_a_look_at_the_database() {
    let database = storage::testing::Database::sqlite();
    let settings = Settings { shelf_age_max: MINUTE * 60, ..Settings::default() };
    let (service, clock) = service(database.url(), settings).await;
    let request = UpdateListPriceRequest {
        variant_id: variant("MUG-BLUE-350"),
        amount: eur("18"),
        start_time: Some((START + MINUTE).to_proto()),
        ..Default::default()
    };
    as_user(ALICE, service.update_list_price(Request::new(request))).await.unwrap();
    let unit_price = async || price(&service, basket(&[("MUG-BLUE-350", 1)])).await.unwrap().lines.remove(0).unit_price;
    assert_eq!(unit_price().await, eur("13.90"));
    let before = service.0.db.stats().statements;
    clock.advance(MINUTE);
    assert_eq!(unit_price().await, eur("18.00"));
    assert_eq!(service.0.db.stats().statements, before);
}

#[tokio::test]
async fn a_country_that_goods_do_not_go_to_cannot_be_the_platforms() {
    install_contract();
    let database = storage::testing::Database::sqlite();
    let options = Options { migrations: MIGRATIONS, ..Options::new("catalog", Clock::manual(START)) };
    let db = Db::open(database.url(), options).await.unwrap();
    let settings = Settings { country: "XX".into(), ..Settings::default() };
    let refused = Service::new(db, &Links::new(), settings).await.err().unwrap();
    assert_eq!(refused.reason(), "INVALID_FIELD");
}
