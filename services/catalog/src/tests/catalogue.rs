//! Goods beside assets, as everyone reads them.

use super::*;

async fn list(service: &Service, request: ListProductsRequest) -> Result<Vec<Product>, Error> {
    let (mut products, mut page_token) = (vec![], String::new());
    loop {
        let request = ListProductsRequest { page_token, ..request.clone() };
        let page = as_nobody(service.list_products(Request::new(request))).await?;
        products.extend(page.products);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(products);
        }
    }
}

fn amount(value: &str, unit: &str) -> Option<Amount> {
    Some(Amount { value: value.into(), unit: unit.into() })
}

/// The names of what a search finds.
async fn named(service: &Service, query: &str, category: &str, kind: product::Kind) -> Vec<String> {
    let (query, category) = (query.to_owned(), category.to_owned());
    let request = SearchProductsRequest { query, page_size: 0, category, kind: kind.into() };
    let reply = as_nobody(service.search_products(Request::new(request))).await.unwrap();
    reply.products.into_iter().map(|product| product.name).collect()
}

#[tokio::test]
async fn one_list_holds_goods_and_assets_by_name_and_every_page_size_gives_the_same() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let all = list(&service, ListProductsRequest { page_size: 200, ..Default::default() }).await.unwrap();
        assert!(all.len() >= 170);
        assert!(all.is_sorted_by_key(|product| (product.name.clone(), product.id.clone())));
        for page_size in [1, 13, all.len() as i32] {
            let pages = list(&service, ListProductsRequest { page_size, ..Default::default() }).await.unwrap();
            assert_eq!(pages, all, "{page_size}");
        }
        let goods = all.iter().filter(|product| product.kind() != product::Kind::Asset);
        assert_eq!(goods.clone().count(), 60);
        for good in goods {
            assert_eq!((good.unit.as_str(), good.scale, good.state()), ("", 0, product::State::Active));
            assert!((1..=4).contains(&good.variants.len()), "{}", good.name);
            assert!(good.variants.iter().all(|variant| variant.list_price.as_ref().is_some_and(|of| of.unit == "USD")));
            assert_eq!(good.etag, "\"v1\"");
        }
    }
}

#[tokio::test]
async fn a_list_is_of_one_category_one_kind_or_one_range_of_prices() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let of = async |request: ListProductsRequest| {
            let found = list(&service, ListProductsRequest { page_size: 3, ..request }).await.unwrap();
            found.into_iter().map(|product| product.name).collect::<Vec<_>>()
        };
        let digital = product::Kind::DigitalGood.into();
        let books = of(ListProductsRequest { category: "books".into(), kind: digital, ..Default::default() }).await;
        assert_eq!(books, ["Harbour lights", "The small orchard"]);
        let assets = of(ListProductsRequest { kind: product::Kind::Asset.into(), ..Default::default() }).await;
        assert_eq!(assets.len(), units_of(&service, "", 200).await.len());
        assert_eq!(of(ListProductsRequest { kind: digital, ..Default::default() }).await.len(), 9);
        for (min, max, names) in [
            // 289.00 and 349.00 the tent, 289.00 the editor of a studio.
            (amount("289", "USD"), None, vec!["Photo editor licence", "Ridge tent"]),
            (amount("289.01", "USD"), amount("999", "USD"), vec!["Ridge tent"]),
            (None, amount("9.90", "USD"), vec!["Espresso beans"]),
            (amount("10.50", "EUR"), amount("10.50", "EUR"), vec!["Loose-leaf tea"]),
            // The tent costs 289.00 or 349.00: no one variant lies between.
            (amount("290", "USD"), amount("348", "USD"), vec![]),
        ] {
            let request = ListProductsRequest { price_min: min.clone(), price_max: max.clone(), ..Default::default() };
            assert_eq!(of(request).await, names, "{min:?} {max:?}");
        }
        for (min, max, reason, field) in [
            (amount("1", "USD"), amount("1", "EUR"), "UNIT_MISMATCH", "price_max.unit"),
            (amount("1", "BTC"), None, "UNIT_MISMATCH", "price_min.unit"),
            (None, amount("1", "NOPE"), "UNIT_MISMATCH", "price_max.unit"),
            (None, amount("0.001", "EUR"), "SCALE_EXCEEDED", "price_max.value"),
        ] {
            let request = ListProductsRequest { price_min: min, price_max: max, ..Default::default() };
            let refused = list(&service, request).await.unwrap_err();
            assert_eq!((refused.reason(), refused.metadata("field")), (reason, Some(field)));
        }
        let first = ListProductsRequest { page_size: 1, category: "books".into(), ..Default::default() };
        let page = as_nobody(service.list_products(Request::new(first))).await.unwrap();
        let page_token = page.next_page_token;
        let other = ListProductsRequest { page_token, kind: digital, category: "books".into(), ..Default::default() };
        let refused = as_nobody(service.list_products(Request::new(other))).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN");
    }
}

#[tokio::test]
async fn goods_are_found_by_name_description_category_and_sku() {
    use product::Kind::{Asset, DigitalGood, PhysicalGood, Unspecified};
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        for (query, category, kind, names) in [
            ("enamel mug", "", Unspecified, vec!["Enamel mug"]),
            // A name that begins with the word, before those that have it, before a description.
            ("kettle", "", Unspecified, vec!["Gooseneck kettle"]),
            ("mug", "", Unspecified, vec!["Enamel mug", "Folding gas stove"]),
            ("campfire dishwasher", "", Unspecified, vec!["Enamel mug"]),
            ("MUG-BLUE-500", "", Unspecified, vec!["Enamel mug"]),
            ("outdoor compass", "", Unspecified, vec!["Baseplate compass"]),
            ("licence", "", PhysicalGood, vec![]),
            ("licence", "", DigitalGood, vec!["Backup tool licence", "Photo editor licence", "Icon library"]),
            ("trees", "books", Unspecified, vec!["Trees of the city", "The small orchard"]),
            ("bitcoin", "", PhysicalGood, vec![]),
            ("bitcoin cash", "", Asset, vec!["Bitcoin Cash"]),
        ] {
            assert_eq!(named(&service, query, category, kind).await, names, "{query} {category} {kind:?}");
        }
    }
}

#[tokio::test]
async fn an_asset_is_shown_as_such_and_a_good_is_none() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let asset = |id: String| service.get_asset(Request::new(GetAssetRequest { id }));
        let bitcoin = as_nobody(asset(kit::id::derive("prd", "catalog", "BTC"))).await.unwrap().product.unwrap();
        assert_eq!((bitcoin.unit.as_str(), bitcoin.kind(), bitcoin.scale), ("BTC", product::Kind::Asset, 8));
        assert!(bitcoin.variants.is_empty());
        let id = kit::id::derive("prd", "catalog", "good MUG");
        assert_eq!(as_nobody(asset(id.clone())).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let mug =
            as_nobody(service.get_product(Request::new(GetProductRequest { id }))).await.unwrap().product.unwrap();
        assert_eq!((mug.kind(), mug.tax_class()), (product::Kind::PhysicalGood, product::TaxClass::Standard));
        let variants: Vec<_> = mug.variants.iter().map(|variant| (variant.sku.as_str(), &variant.list_price)).collect();
        let price = |value| amount(value, "USD");
        assert_eq!(variants.len(), 4);
        assert_eq!(variants[0], ("MUG-WHITE-350", &price("14.90")));
        assert_eq!(variants[3], ("MUG-BLUE-500", &price("17.90")));
    }
}

#[tokio::test]
async fn the_seed_gives_every_replica_the_same_ids_and_leaves_what_admins_changed() {
    let (one, other) = (storage::testing::Database::sqlite(), storage::testing::Database::sqlite());
    let (first, clock) = service(one.url(), Settings::default()).await;
    let (second, _) = service(other.url(), Settings::default()).await;
    let all = || ListProductsRequest { page_size: 200, ..Default::default() };
    let before = list(&first, all()).await.unwrap();
    assert_eq!(before, list(&second, all()).await.unwrap());
    let shown: std::collections::BTreeMap<_, _> =
        before.iter().flat_map(|product| &product.variants).map(|variant| (&variant.id, &variant.sku)).collect();
    let stocked = crate::seeded_variants().unwrap();
    assert!(stocked.iter().all(|variant| shown.get(&variant.variant_id) == Some(&&variant.sku)));
    let archive = ArchiveProductRequest { id: kit::id::derive("prd", "catalog", "good MUG"), ..Default::default() };
    as_user(ALICE, first.archive_product(Request::new(archive))).await.unwrap();
    clock.advance(SECOND);
    first.seed().await.unwrap();
    assert_eq!(list(&first, all()).await.unwrap().len(), before.len() - 1);
}

#[tokio::test]
async fn replicas_that_seed_at_once_tell_of_every_good_once() {
    install_contract();
    for database in each_database().await {
        let mut replicas = vec![];
        for _ in 0..3 {
            let options = Options { migrations: MIGRATIONS, ..Options::new("catalog", Clock::manual(START)) };
            let db = Db::open(database.url(), options).await.unwrap();
            replicas.push(Service::new(db, &Links::new(), Settings::default()).await.unwrap());
        }
        let seeded = futures::future::join_all(replicas.iter().map(Service::seed)).await;
        assert!(seeded.iter().all(Result::is_ok), "{seeded:?}");
        const FACTS: &str = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COUNT(DISTINCT aggregate) AS BIGINT) FROM outbox";
        let row = replicas[0].0.db.read(async |session| session.row(FACTS, &[]).await).await.unwrap().unwrap();
        assert_eq!((row.int(0).unwrap(), row.int(1).unwrap()), (60, 60));
    }
}

#[tokio::test]
async fn a_database_of_assets_only_is_brought_up_with_all_of_them() {
    install_contract();
    for database in each_database().await {
        let open = async |migrations| {
            let options = Options { migrations, ..Options::new("catalog", Clock::manual(START)) };
            Db::open(database.url(), options).await.unwrap()
        };
        let old = open(&MIGRATIONS[..1]).await;
        let fill = async |unit: &mut storage::Unit| {
            for sql in [
                "INSERT INTO units (code, kind, scale) VALUES ('BTC', 'ASSET', 8)",
                "INSERT INTO categories (name, title) VALUES ('layer-1', 'Layer 1')",
                "INSERT INTO products (id, unit, name, description, category, words, create_time)
                 VALUES ('prd_old', 'BTC', 'Bitcoin', 'Old.', 'layer-1', ' btc bitcoin old', 7)",
            ] {
                unit.exec(sql, &[]).await?;
            }
            Ok(())
        };
        old.write(fill).await.unwrap();
        drop(old);
        let db = open(MIGRATIONS).await;
        let load = async |session: &mut storage::Session| crate::store::product(session, "prd_old", START).await;
        let product = db.snapshot(load).await.unwrap().unwrap();
        assert_eq!(
            (product.kind(), product.name.as_str(), product.version),
            (crate::product::Kind::Asset, "Bitcoin", 1)
        );
        assert_eq!(product.create_time, Timestamp::from_micros(7));
    }
}
