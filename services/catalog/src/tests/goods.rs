//! What admins change of goods, and what is told of it.

use contracts::catalog::v1::{CatalogEvent, catalog_event::Event};
use prost::Message;

use super::*;

const KEY: &str = "0c4f4d3e-6f2b-4f0a-9a6b-0d7c5e6f7a81";

fn usd(value: &str) -> Option<Amount> {
    Some(Amount { value: value.into(), unit: "USD".into() })
}

fn new_variant(sku: &str, price: Option<Amount>) -> NewVariant {
    NewVariant { sku: sku.into(), title: "Red".into(), list_price: price }
}

fn chair() -> CreateProductRequest {
    CreateProductRequest {
        request_id: String::new(),
        kind: product::Kind::PhysicalGood.into(),
        name: "Folding chair".into(),
        description: "Beech and canvas.".into(),
        category: "home".into(),
        tax_class: 0,
        variants: vec![new_variant("CHAIR-RED", usd("49.90")), new_variant("CHAIR-BLUE", None)],
    }
}

async fn create(service: &Service, request: CreateProductRequest) -> Result<Product, Error> {
    as_user(ALICE, service.create_product(Request::new(request))).await.map(|reply| reply.product.unwrap())
}

async fn shown(service: &Service, id: &str) -> Product {
    let request = GetProductRequest { id: id.to_owned() };
    as_nobody(service.get_product(Request::new(request))).await.unwrap().product.unwrap()
}

/// What waits in the outbox about a product: the version, its etag as the fact has it, and what happened.
async fn facts(service: &Service, id: &str) -> Vec<(i64, String, Event)> {
    const OUTBOX: &str = "SELECT sequence, payload FROM outbox WHERE aggregate = $1 ORDER BY sequence";
    let rows = service.0.db.read(async |session| session.rows(OUTBOX, &[id.into()]).await).await.unwrap();
    let read = |row: &storage::Row| {
        let fact = CatalogEvent::decode(row.bytes(1).unwrap().as_slice()).unwrap();
        (row.int(0).unwrap(), fact.product.unwrap().etag, fact.event.unwrap())
    };
    rows.iter().map(read).collect()
}

#[tokio::test]
async fn a_good_is_created_once_and_shown_with_what_it_costs() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let request = CreateProductRequest { request_id: KEY.into(), ..chair() };
        let created = create(&service, request.clone()).await.unwrap();
        assert_eq!(create(&service, request.clone()).await.unwrap(), created, "a repeat gets the reply");
        let other = CreateProductRequest { name: "Stool".into(), ..request };
        assert_eq!(create(&service, other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(shown(&service, &created.id).await, created);
        assert_eq!((created.etag.as_str(), created.tax_class()), ("\"v1\"", product::TaxClass::Standard));
        let prices: Vec<_> =
            created.variants.iter().map(|variant| (variant.sku.as_str(), &variant.list_price)).collect();
        assert_eq!(prices, [("CHAIR-RED", &usd("49.90")), ("CHAIR-BLUE", &None)]);
        assert_eq!(found_names(&service, "chair canvas living").await, ["Folding chair"]);
        let facts = facts(&service, &created.id).await;
        assert!(matches!(facts.as_slice(), [(1, _, Event::ProductCreated(_))]), "{facts:?}");
    }
}

async fn found_names(service: &Service, query: &str) -> Vec<String> {
    let request = SearchProductsRequest { query: query.to_owned(), ..Default::default() };
    let reply = as_nobody(service.search_products(Request::new(request))).await.unwrap();
    reply.products.into_iter().map(|product| product.name).collect()
}

#[tokio::test]
async fn a_good_that_breaks_a_rule_is_refused_and_nothing_of_it_stays() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let red = |price| vec![new_variant("CHAIR-RED", price)];
        let price = |value: &str, unit: &str| Some(Amount { value: value.into(), unit: unit.into() });
        for (request, reason) in [
            (CreateProductRequest { kind: product::Kind::Asset.into(), ..chair() }, "INVALID_FIELD"),
            (CreateProductRequest { kind: 0, ..chair() }, "INVALID_FIELD"),
            (CreateProductRequest { kind: 9, ..chair() }, "INVALID_FIELD"),
            (CreateProductRequest { category: "nowhere".into(), ..chair() }, "INVALID_FIELD"),
            (CreateProductRequest { tax_class: 9, ..chair() }, "INVALID_FIELD"),
            (CreateProductRequest { variants: vec![], ..chair() }, "INVALID_FIELD"),
            (CreateProductRequest { variants: [red(None), red(None)].concat(), ..chair() }, "INVALID_FIELD"),
            (CreateProductRequest { variants: red(price("0", "USD")), ..chair() }, "AMOUNT_OUT_OF_RANGE"),
            (CreateProductRequest { variants: red(price("-1", "USD")), ..chair() }, "AMOUNT_OUT_OF_RANGE"),
            (CreateProductRequest { variants: red(price("1.001", "USD")), ..chair() }, "SCALE_EXCEEDED"),
            (CreateProductRequest { variants: red(price("1", "BTC")), ..chair() }, "UNIT_MISMATCH"),
            (CreateProductRequest { variants: red(price("1", "NOPE")), ..chair() }, "UNIT_MISMATCH"),
        ] {
            let refused = create(&service, request.clone()).await.unwrap_err();
            assert_eq!(refused.reason(), reason, "{request:?}");
            let field = match reason {
                "INVALID_FIELD" => continue,
                "UNIT_MISMATCH" => "variants[0].list_price.unit",
                _ => "variants[0].list_price.value",
            };
            assert_eq!(refused.metadata("field"), Some(field), "{request:?}");
        }
        let taken = [red(None), vec![new_variant("MUG-BLUE-350", None)]].concat();
        let refused = create(&service, CreateProductRequest { variants: taken, ..chair() }).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("sku")), ("ALREADY_EXISTS_SKU", Some("MUG-BLUE-350")));
        assert!(found_names(&service, "folding chair").await.is_empty());
        assert!(create(&service, chair()).await.is_ok(), "the SKU of a refused request is free");
    }
}

#[tokio::test]
async fn a_good_is_shown_by_any_of_its_variants_also_when_it_is_off_sale() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let by_variant = async |id: &str| {
            let request = Request::new(GetVariantRequest { id: id.to_owned() });
            as_nobody(service.get_variant(request)).await.map(|reply| reply.product.unwrap())
        };
        let created = create(&service, chair()).await.unwrap();
        for variant in &created.variants {
            assert_eq!(by_variant(&variant.id).await.unwrap(), created);
        }
        let archive = ArchiveProductRequest { id: created.id.clone(), ..Default::default() };
        as_user(ALICE, service.archive_product(Request::new(archive))).await.unwrap();
        let shown = by_variant(&created.variants[0].id).await.unwrap();
        assert_eq!((shown.id, shown.state), (created.id, product::State::Archived.into()));
        let nobody = kit::id::new("var", START);
        let refused = by_variant(&nobody).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("resource")), ("RESOURCE_NOT_FOUND", Some(nobody.as_str())));
    }
}

#[tokio::test]
async fn one_of_two_goods_gets_a_sku_that_both_want() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let created = futures::future::join_all((0..6).map(|_| create(&service, chair()))).await;
        assert_eq!(created.iter().filter(|result| result.is_ok()).count(), 1);
        for refused in created.iter().filter_map(|result| result.as_ref().err()) {
            assert!(refused.reason() == "ALREADY_EXISTS_SKU" || refused.retryable(), "{refused}");
        }
        assert_eq!(create(&service, chair()).await.unwrap_err().reason(), "ALREADY_EXISTS_SKU");
    }
}

#[tokio::test]
async fn a_change_needs_the_etag_of_this_version_and_is_told_once() {
    for database in each_database().await {
        let (service, clock) = service(database.url(), Settings::default()).await;
        let created = create(&service, chair()).await.unwrap();
        clock.advance(SECOND);
        let update = |patch: Product, request_id: &str, paths: &[&str]| {
            let update_mask = Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() });
            let product = Some(Product { id: created.id.clone(), ..patch });
            let request = UpdateProductRequest { request_id: request_id.into(), product, update_mask };
            as_user(ALICE, service.update_product(Request::new(request)))
        };
        let named = |name: &str, etag: &str| Product { name: name.into(), etag: etag.into(), ..Default::default() };
        let first = update(named("Deck chair", "\"v1\""), KEY, &["name"]).await.unwrap().product.unwrap();
        assert_eq!((first.name.as_str(), first.description.as_str()), ("Deck chair", "Beech and canvas."));
        assert_eq!((first.etag.as_str(), first.update_time), ("\"v2\"", Some((START + SECOND).to_proto())));
        let again = update(named("Deck chair", "\"v1\""), KEY, &["name"]).await.unwrap().product.unwrap();
        assert_eq!(again, first);
        let stale = update(named("Chair", "\"v1\""), "", &["name"]).await.unwrap_err();
        assert_eq!((stale.reason(), stale.metadata("etag")), ("ETAG_MISMATCH", Some("\"v2\"")));
        let same = update(named("Deck chair", ""), "", &[]).await.unwrap().product.unwrap();
        assert_eq!(same.etag, "\"v2\"", "no change, no version");
        let moved = Product { category: "outdoor".into(), tax_class: 3, ..Default::default() };
        let moved = update(moved, "", &["category", "tax_class"]).await.unwrap().product.unwrap();
        assert_eq!((moved.category.as_str(), moved.tax_class()), ("outdoor", product::TaxClass::Exempt));
        assert_eq!(found_names(&service, "deck travel").await, ["Deck chair"], "found by its new name and category");
        for (patch, paths) in [
            (Product { category: "nowhere".into(), ..Default::default() }, ["category"]),
            (named("", ""), ["name"]),
            (named("Chair", ""), ["sku"]),
        ] {
            assert_eq!(update(patch, "", &paths).await.unwrap_err().reason(), "INVALID_FIELD", "{paths:?}");
        }
        let facts = facts(&service, &created.id).await;
        let [_, (2, etag, Event::ProductUpdated(_)), (3, _, Event::ProductUpdated(_))] = facts.as_slice() else {
            panic!("{facts:?}")
        };
        assert_eq!(etag, "\"v2\"", "a fact carries the product as it was then");
    }
}

#[tokio::test]
async fn what_is_archived_is_listed_and_found_no_more_but_shown() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let created = create(&service, chair()).await.unwrap();
        let [red, blue] = created.variants.as_slice() else { panic!("{created:?}") };
        let archive = |id: &str, request_id: &str| {
            let request = ArchiveVariantRequest { request_id: request_id.into(), id: id.into(), ..Default::default() };
            as_user(ALICE, service.archive_variant(Request::new(request)))
        };
        let half = archive(&red.id, KEY).await.unwrap().product.unwrap();
        assert_eq!(archive(&red.id, KEY).await.unwrap().product.unwrap(), half);
        let states: Vec<_> = half.variants.iter().map(Variant::state).collect();
        assert_eq!(states, [product::State::Archived, product::State::Active]);
        assert_eq!(shown(&service, &created.id).await, half);
        assert!(found_names(&service, "CHAIR-RED").await.is_empty());
        assert_eq!(found_names(&service, "CHAIR-BLUE").await, ["Folding chair"]);
        assert_eq!(archive(&red.id, "").await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        assert_eq!(archive(&kit::id::new("var", START), "").await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let whole = |etag: &str| {
            let request = ArchiveProductRequest { id: created.id.clone(), etag: etag.into(), ..Default::default() };
            as_user(ALICE, service.archive_product(Request::new(request)))
        };
        assert_eq!(whole("\"v1\"").await.unwrap_err().reason(), "ETAG_MISMATCH");
        let gone = whole("\"v2\"").await.unwrap().product.unwrap();
        assert_eq!((gone.state(), gone.etag.as_str()), (product::State::Archived, "\"v3\""));
        assert_eq!(shown(&service, &created.id).await, gone, "orders of the past still name it");
        assert!(found_names(&service, "folding chair").await.is_empty());
        for refused in [whole("").await.err(), archive(&blue.id, "").await.err()] {
            assert_eq!(refused.unwrap().reason(), "INVALID_STATE_TRANSITION");
        }
        let archived = |id: &str| Event::ProductArchived(ProductArchived { variant_id: id.into() });
        let facts: Vec<_> = facts(&service, &created.id).await.into_iter().map(|(.., event)| event).collect();
        assert_eq!(facts[1..], [archived(&red.id), archived("")]);
    }
}

#[tokio::test]
async fn a_variant_is_added_behind_its_siblings() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let created = create(&service, chair()).await.unwrap();
        let add = |product_id: &str, variant: Option<NewVariant>| {
            let request = CreateVariantRequest { product_id: product_id.into(), variant, ..Default::default() };
            as_user(ALICE, service.create_variant(Request::new(request)))
        };
        let added = add(&created.id, Some(new_variant("CHAIR-GREEN", usd("55")))).await.unwrap().product.unwrap();
        let last = added.variants.last().unwrap();
        assert_eq!((last.sku.as_str(), &last.list_price), ("CHAIR-GREEN", &usd("55.00")));
        assert_eq!(shown(&service, &created.id).await, added);
        assert_eq!(found_names(&service, "CHAIR-GREEN").await, ["Folding chair"]);
        let bitcoin = kit::id::derive("prd", "catalog", "BTC");
        let nobody = kit::id::new("prd", START);
        for (id, variant, reason) in [
            (&created.id, Some(new_variant("CHAIR-RED", None)), "ALREADY_EXISTS_SKU"),
            (&created.id, Some(new_variant("MUG-BLUE-350", None)), "ALREADY_EXISTS_SKU"),
            (&created.id, None, "INVALID_FIELD"),
            (&bitcoin, Some(new_variant("BTC-GOLD", None)), "INVALID_FIELD"),
            (&nobody, Some(new_variant("CHAIR-GOLD", None)), "RESOURCE_NOT_FOUND"),
        ] {
            assert_eq!(add(id, variant).await.unwrap_err().reason(), reason);
        }
        assert_eq!(shown(&service, &created.id).await, added, "a refusal changes nothing");
        let facts = facts(&service, &created.id).await;
        assert!(matches!(facts.as_slice(), [_, (2, _, Event::ProductUpdated(_))]), "{facts:?}");
    }
}

#[tokio::test]
async fn variants_are_not_added_to_or_taken_from_another_version_than_was_read() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let created = create(&service, chair()).await.unwrap();
        let add = |sku: &str, etag: &str| {
            let (product_id, variant) = (created.id.clone(), Some(new_variant(sku, None)));
            let request = CreateVariantRequest { product_id, variant, etag: etag.into(), ..Default::default() };
            as_user(ALICE, service.create_variant(Request::new(request)))
        };
        let archive = |etag: &str| {
            let id = created.variants[0].id.clone();
            let request = ArchiveVariantRequest { id, etag: etag.into(), ..Default::default() };
            as_user(ALICE, service.archive_variant(Request::new(request)))
        };
        let added = add("CHAIR-GREEN", &created.etag).await.unwrap().product.unwrap();
        assert_eq!(add("CHAIR-GOLD", &created.etag).await.unwrap_err().reason(), "ETAG_MISMATCH");
        assert_eq!(archive(&created.etag).await.unwrap_err().reason(), "ETAG_MISMATCH");
        assert_eq!(shown(&service, &created.id).await, added, "a refusal changes nothing");
        archive(&added.etag).await.unwrap();
    }
}

#[tokio::test]
async fn changes_at_once_each_get_a_version_of_their_own() {
    for database in each_database().await {
        let (service, _clock) = service(database.url(), Settings::default()).await;
        let created = create(&service, chair()).await.unwrap();
        let add = |number: usize| {
            let variant = Some(new_variant(&format!("CHAIR-{number}"), usd("10")));
            let product_id = created.id.clone();
            let request = CreateVariantRequest { product_id, variant, ..Default::default() };
            as_user(ALICE, service.create_variant(Request::new(request)))
        };
        let added = futures::future::join_all((0..8).map(add)).await;
        assert!(added.iter().all(Result::is_ok), "{added:?}");
        let product = shown(&service, &created.id).await;
        assert_eq!((product.variants.len(), product.etag.as_str()), (10, "\"v9\""));
        let sequences: Vec<i64> = facts(&service, &created.id).await.into_iter().map(|(number, ..)| number).collect();
        assert_eq!(sequences, (1..=9).collect::<Vec<_>>());
    }
}
