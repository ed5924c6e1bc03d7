//! Locations, items and movements, through the RPCs.

use std::collections::HashSet;

use storage::Unit;

use super::*;
use crate::{
    SeedStock,
    verify::{self, Place},
};

async fn update_item(bench: &Bench, item: &api::StockItem, safety: i64, low: i64) -> Result<api::StockItem, Error> {
    let request = api::UpdateStockItemRequest {
        request_id: request_id(),
        id: item.id.clone(),
        safety_stock: Some(safety),
        low_threshold: Some(low),
        etag: item.etag.clone(),
    };
    Ok(answer(bench.service.update_stock_item(Request::new(request))).await?.stock_item.unwrap())
}

async fn movements(bench: &Bench, item: &str, page_token: &str) -> (Vec<api::StockMovement>, String) {
    let (page_size, page_token) = (2, page_token.to_owned());
    let request = api::ListStockMovementsRequest { page_size, page_token, stock_item_id: item.to_owned() };
    let reply = answer(bench.service.list_stock_movements(Request::new(request))).await.unwrap();
    (reply.stock_movements, reply.next_page_token)
}

async fn available(bench: &Bench, variants: &[&str]) -> Vec<(String, i64)> {
    let variant_ids = variants.iter().map(|id| (*id).to_owned()).collect();
    let request = Request::new(api::BatchGetAvailabilityRequest { variant_ids });
    let reply = answer(bench.service.batch_get_availability(request)).await.unwrap();
    reply.availabilities.into_iter().map(|line| (line.variant_id, line.available)).collect()
}

#[tokio::test]
async fn what_comes_and_goes_is_written_down_and_adds_up() {
    for bench in Bench::each().await {
        let tea = new_id("var");
        let item = bench.receive(&tea, 10).await.unwrap();
        assert_eq!((item.on_hand, item.available, item.etag.as_str()), (10, 10, "\"v1\""));
        bench.adjust(adjustment(&tea, "", Kind::Lost, 3)).await.unwrap();
        let item = bench.adjust(adjustment(&tea, "", Kind::Returned, 1)).await.unwrap();
        let count = api::AdjustStockRequest { etag: item.etag, ..adjustment(&tea, "", Kind::Counted, 5) };
        let item = bench.adjust(count).await.unwrap();
        assert_eq!((item.on_hand, item.etag.as_str()), (5, "\"v4\""));
        let (latest, token) = movements(&bench, &item.id, "").await;
        let (oldest, end) = movements(&bench, &item.id, &token).await;
        let all: Vec<_> = latest.iter().chain(&oldest).map(|it| (it.kind(), it.quantity, it.on_hand)).collect();
        let expected = [(Kind::Counted, -3, 5), (Kind::Returned, 1, 8), (Kind::Lost, -3, 7), (Kind::Received, 10, 10)];
        assert_eq!((all.as_slice(), end.as_str()), (expected.as_slice(), ""));
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn an_adjustment_happens_once_whoever_repeats_it() {
    for bench in Bench::each().await {
        let tea = new_id("var");
        let request = adjustment(&tea, &bench.location, Kind::Received, 10);
        let first = bench.adjust(request.clone()).await.unwrap();
        assert_eq!(bench.adjust(request.clone()).await.unwrap(), first);
        let error = bench.adjust(api::AdjustStockRequest { quantity: 11, ..request }).await.unwrap_err();
        assert_eq!(error.reason(), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(bench.counts(&tea).await, [10, 0, 10]);
    }
}

#[tokio::test]
async fn a_repeat_under_the_same_request_id_gets_the_same_reply_and_changes_nothing_more() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let create = api::CreateLocationRequest { request_id: request_id(), name: "Memphis".to_owned(), rank: 1 };
        let create = async || answer(bench.service.create_location(Request::new(create.clone()))).await.unwrap();
        let memphis = create().await.location.unwrap();
        assert_eq!(create().await.location.as_ref(), Some(&memphis));
        let update = api::UpdateLocationRequest {
            request_id: request_id(),
            id: memphis.id.clone(),
            name: Some("Memphis TN".to_owned()),
            rank: Some(2),
            active: None,
            etag: memphis.etag,
        };
        let update = async || answer(bench.service.update_location(Request::new(update.clone()))).await.unwrap();
        assert_eq!(update().await, update().await);
        let transfer = api::TransferStockRequest {
            request_id: request_id(),
            variant_id: tea.clone(),
            from_location_id: bench.location.clone(),
            to_location_id: memphis.id,
            quantity: 4,
        };
        let transfer = async || answer(bench.service.transfer_stock(Request::new(transfer.clone()))).await.unwrap();
        let moved = transfer().await;
        assert_eq!(transfer().await, moved);
        let item = moved.to_stock_item.unwrap();
        assert_eq!((item.on_hand, bench.counts(&tea).await), (4, [10, 0, 10]));
        let care = api::UpdateStockItemRequest {
            request_id: request_id(),
            id: item.id,
            safety_stock: Some(1),
            low_threshold: Some(9),
            etag: item.etag,
        };
        let care = async || answer(bench.service.update_stock_item(Request::new(care.clone()))).await.unwrap();
        assert_eq!(care().await, care().await);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_count_needs_to_have_seen_the_item() {
    for bench in Bench::each().await {
        let tea = new_id("var");
        let count = || adjustment(&tea, "", Kind::Counted, 5);
        let seen = |etag: &str| api::AdjustStockRequest { etag: etag.to_owned(), ..count() };
        assert_eq!(bench.adjust(seen("\"v7\"")).await.unwrap_err().reason(), "ETAG_MISMATCH");
        // New: there is nothing to have seen.
        let item = bench.adjust(count()).await.unwrap();
        assert_eq!(bench.adjust(count()).await.unwrap_err().reason(), "INVALID_FIELD");
        bench.receive(&tea, 1).await.unwrap();
        assert_eq!(bench.adjust(seen(&item.etag)).await.unwrap_err().reason(), "ETAG_MISMATCH");
        assert_eq!(bench.counts(&tea).await[0], 6);
    }
}

#[tokio::test]
async fn an_adjustment_that_makes_no_sense_is_refused_with_its_reason() {
    for bench in Bench::each().await {
        let tea = bench.variant(5).await;
        bench.create(&new_id("rsv"), &[(&tea, 4)]).await.unwrap();
        for (kind, quantity, location, reason) in [
            (Kind::Lost, 2, "", "OUT_OF_STOCK"),
            (Kind::Received, 0, "", "INVALID_FIELD"),
            (Kind::Shipped, 1, "", "INVALID_FIELD"),
            (Kind::Transferred, 1, "", "INVALID_FIELD"),
            (Kind::Unspecified, 1, "", "INVALID_FIELD"),
            (Kind::Received, 1, "loc_01h455vb4pex5vsknk084sn02q", "RESOURCE_NOT_FOUND"),
        ] {
            let error = bench.adjust(adjustment(&tea, location, kind, quantity)).await.unwrap_err();
            assert_eq!(error.reason(), reason, "{kind:?} {quantity}");
        }
        let etag = bench.items(&tea).await[0].etag.clone();
        let few = api::AdjustStockRequest { etag, ..adjustment(&tea, "", Kind::Counted, 3) };
        assert_eq!(bench.adjust(few).await.unwrap_err().reason(), "OUT_OF_STOCK");
        assert_eq!(bench.counts(&tea).await, [5, 4, 1]);
    }
}

#[tokio::test]
async fn pieces_move_between_locations_but_never_those_that_are_reserved() {
    for bench in Bench::each().await {
        let tea = bench.variant(5).await;
        let memphis = bench.add_location("Memphis", 1).await.unwrap().id;
        bench.create(&new_id("rsv"), &[(&tea, 2)]).await.unwrap();
        let transfer = async |from: &str, to: &str, quantity| {
            let request = api::TransferStockRequest {
                request_id: request_id(),
                variant_id: tea.clone(),
                from_location_id: from.to_owned(),
                to_location_id: to.to_owned(),
                quantity,
            };
            answer(bench.service.transfer_stock(Request::new(request))).await
        };
        let error = transfer(&bench.location, &memphis, 4).await.unwrap_err();
        assert_eq!((error.reason(), error.metadata("available")), ("OUT_OF_STOCK", Some("3")));
        let moved = transfer(&bench.location, &memphis, 3).await.unwrap();
        let (from, to) = (moved.from_stock_item.unwrap(), moved.to_stock_item.unwrap());
        assert_eq!((from.on_hand, from.reserved, to.on_hand, to.location_id.as_str()), (2, 2, 3, memphis.as_str()));
        transfer(&memphis, &bench.location, 1).await.unwrap();
        assert_eq!(transfer(&memphis, &memphis, 1).await.unwrap_err().reason(), "INVALID_FIELD");
        let nowhere = new_id("loc");
        assert_eq!(transfer(&memphis, &nowhere, 1).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        assert_eq!(transfer(&nowhere, &memphis, 1).await.unwrap_err().reason(), "OUT_OF_STOCK");
        assert_eq!(bench.counts(&tea).await, [5, 2, 3]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn low_stock_is_told_when_it_begins_and_again_only_after_it_was_over() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let item = bench.items(&tea).await.remove(0);
        update_item(&bench, &item, 1, 5).await.unwrap();
        let told = async || {
            let facts = bench.facts().await;
            let about: Vec<_> = facts.into_iter().filter(|(about, ..)| *about == item.id).collect();
            let sequences: Vec<i64> = about.iter().map(|(_, sequence, _)| *sequence).collect();
            assert_eq!(sequences, (1..).take(sequences.len()).collect::<Vec<_>>());
            about.iter().filter(|(.., event)| matches!(event, api::inventory_event::Event::StockLow(_))).count()
        };
        let ids = [new_id("rsv"), new_id("rsv")];
        bench.create(&ids[0], &[(&tea, 4)]).await.unwrap();
        assert_eq!(told().await, 0);
        bench.create(&ids[1], &[(&tea, 1)]).await.unwrap();
        assert_eq!(told().await, 1);
        bench.adjust(adjustment(&tea, "", Kind::Lost, 1)).await.unwrap();
        assert_eq!(told().await, 1);
        bench.release(&ids[0]).await.unwrap();
        assert_eq!(told().await, 1);
        bench.adjust(adjustment(&tea, "", Kind::Lost, 3)).await.unwrap();
        assert_eq!(told().await, 2);
        let low = api::ListStockItemsRequest { low_only: true, ..Default::default() };
        let low = answer(bench.service.list_stock_items(Request::new(low))).await.unwrap().stock_items;
        assert_eq!(low.iter().map(|item| item.variant_id.as_str()).collect::<Vec<_>>(), [tea]);
    }
}

#[tokio::test]
async fn safety_stock_is_never_sold_and_a_stale_change_of_it_is_refused() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let item = bench.items(&tea).await.remove(0);
        let after = update_item(&bench, &item, 8, 0).await.unwrap();
        assert_eq!((after.available, after.etag.as_str()), (2, "\"v2\""));
        assert_eq!(update_item(&bench, &item, 0, 0).await.unwrap_err().reason(), "ETAG_MISMATCH");
        assert_eq!(bench.create(&new_id("rsv"), &[(&tea, 3)]).await.unwrap_err().reason(), "OUT_OF_STOCK");
        bench.create(&new_id("rsv"), &[(&tea, 2)]).await.unwrap();
        let get = Request::new(api::GetStockItemRequest { id: item.id.clone() });
        let found = answer(bench.service.get_stock_item(get)).await.unwrap().stock_item.unwrap();
        assert_eq!((found.reserved, found.available), (2, 0));
        let none = api::StockItem { id: new_id("stk"), ..item };
        assert_eq!(update_item(&bench, &none, 0, 0).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn availability_counts_active_locations_and_leaves_out_what_is_not_kept() {
    for bench in Bench::each().await {
        let (tea, cup) = (bench.variant(5).await, bench.variant(1).await);
        let memphis = bench.add_location("Memphis", 1).await.unwrap();
        bench.adjust(adjustment(&tea, &memphis.id, Kind::Received, 7)).await.unwrap();
        bench.create(&new_id("rsv"), &[(&cup, 1)]).await.unwrap();
        let unknown = new_id("var");
        let mut expected = vec![(tea.clone(), 12), (cup.clone(), 0)];
        expected.sort();
        assert_eq!(available(&bench, &[&tea, &unknown, &cup, &tea]).await, expected);
        let close = api::UpdateLocationRequest {
            request_id: request_id(),
            id: memphis.id,
            name: None,
            rank: None,
            active: Some(false),
            etag: memphis.etag,
        };
        answer(bench.service.update_location(Request::new(close.clone()))).await.unwrap();
        assert_eq!(available(&bench, &[&tea]).await, [(tea.clone(), 5)]);
        assert_eq!(bench.create(&new_id("rsv"), &[(&tea, 6)]).await.unwrap_err().reason(), "OUT_OF_STOCK");
        let stale = api::UpdateLocationRequest { request_id: request_id(), ..close };
        let error = answer(bench.service.update_location(Request::new(stale.clone()))).await.unwrap_err();
        assert_eq!(error.reason(), "ETAG_MISMATCH");
        let taken = api::UpdateLocationRequest {
            request_id: request_id(),
            name: Some("Rotterdam".to_owned()),
            etag: String::new(),
            ..stale
        };
        let error = answer(bench.service.update_location(Request::new(taken))).await.unwrap_err();
        assert_eq!(error.reason(), "ALREADY_EXISTS_NAME");
    }
}

#[tokio::test]
async fn locations_have_names_of_their_own_and_are_listed_by_rank() {
    for bench in Bench::each().await {
        bench.add_location("Memphis", 5).await.unwrap();
        bench.add_location("Delft", 2).await.unwrap();
        let error = bench.add_location("Delft", 3).await.unwrap_err();
        assert_eq!(error.reason(), "ALREADY_EXISTS_NAME");
        let list = answer(bench.service.list_locations(Request::new(api::ListLocationsRequest {}))).await.unwrap();
        let names: Vec<String> = list.locations.into_iter().map(|location| location.name).collect();
        assert_eq!(names, ["Rotterdam", "Delft", "Memphis"]);
    }
}

#[tokio::test]
async fn items_are_listed_page_by_page_within_their_filter() {
    for bench in Bench::each().await {
        for _ in 0..5 {
            bench.variant(1).await;
        }
        let list = async |page_token: String, location_id: String| {
            let request = api::ListStockItemsRequest { page_size: 3, page_token, location_id, ..Default::default() };
            answer(bench.service.list_stock_items(Request::new(request))).await
        };
        let first = list(String::new(), String::new()).await.unwrap();
        let second = list(first.next_page_token.clone(), String::new()).await.unwrap();
        let ids: Vec<String> = first.stock_items.iter().chain(&second.stock_items).map(|it| it.id.clone()).collect();
        assert_eq!((ids.len(), second.next_page_token.as_str()), (5, ""));
        assert!(ids.is_sorted());
        let other = list(first.next_page_token, bench.location.clone()).await.unwrap_err();
        assert_eq!(other.reason(), "INVALID_PAGE_TOKEN");
        assert!(list(String::new(), new_id("loc")).await.unwrap().stock_items.is_empty());
    }
}

#[tokio::test]
async fn the_demo_is_seeded_with_what_is_missing_and_only_that() {
    for bench in Bench::each().await {
        let seeds: Vec<SeedStock> =
            (0..150).map(|_| SeedStock { variant_id: new_id("var"), quantity: 21, low_threshold: 3 }).collect();
        bench.service.seed(&seeds[..100]).await.unwrap();
        bench.create(&new_id("rsv"), &[(&seeds[0].variant_id, 1)]).await.unwrap();
        bench.service.seed(&seeds).await.unwrap();
        bench.service.seed(&seeds).await.unwrap();
        assert_eq!(bench.counts(&seeds[0].variant_id).await, [21, 1, 20]);
        for seed in &seeds[1..] {
            assert_eq!(bench.counts(&seed.variant_id).await, [21, 0, 21]);
        }
        let list = answer(bench.service.list_locations(Request::new(api::ListLocationsRequest {}))).await.unwrap();
        assert_eq!(list.locations.len(), 2);
        let check = bench.verify().await;
        assert_eq!((check.holds, check.item_count), (true, 300));
    }
}

#[tokio::test]
async fn a_planted_fault_is_found_when_stock_is_counted_again() {
    const FAULTS: [(&str, &str); 6] = [
        ("UPDATE stock_items SET reserved = reserved + 1", "pieces reserved, but reservations hold 2"),
        ("UPDATE stock_items SET on_hand = on_hand + 1", "but its movements add up to 10"),
        ("UPDATE stock_movements SET quantity = quantity - 1", "but its movements add up to 9"),
        ("DELETE FROM stock_movements", "but 0 are written down"),
        ("UPDATE reservations SET state = 'RELEASED'", "but reservations hold 0"),
        ("UPDATE reservations SET expire_time = 1", "is still held although its time is over"),
    ];
    for (fault, expected) in FAULTS {
        for bench in Bench::each().await {
            let tea = bench.variant(10).await;
            bench.create(&new_id("rsv"), &[(&tea, 2)]).await.unwrap();
            let check = bench.verify().await;
            assert_eq!((check.holds, check.item_count, check.problems), (true, 1, vec![]));
            bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
            let check = bench.verify().await;
            assert!(!check.holds && check.problems.iter().any(|it| it.contains(expected)), "{fault}: {check:?}");
        }
    }
}

#[tokio::test]
async fn a_fault_is_found_on_whichever_page_it_is_and_pages_count_the_whole() {
    const FAULTS: [&str; 7] = [
        "UPDATE stock_movements SET quantity = 9 WHERE sequence = 2",
        "DELETE FROM stock_movements WHERE sequence = 1",
        "UPDATE stock_items SET on_hand = on_hand + 1 WHERE id = (SELECT MIN(id) FROM stock_items)",
        "UPDATE stock_items SET on_hand = on_hand + 1 WHERE id = (SELECT MAX(id) FROM stock_items)",
        "UPDATE stock_items SET reserved = 0 WHERE id = (SELECT MAX(id) FROM stock_items)",
        "DELETE FROM stock_movements WHERE stock_item_id = (SELECT MAX(id) FROM stock_items)",
        "UPDATE reservations SET state = 'RELEASED' WHERE id = (SELECT MAX(id) FROM reservations)",
    ];
    for fault in FAULTS {
        for bench in Bench::each().await {
            for _ in 0..5 {
                let tea = bench.variant(10).await;
                for pieces in [1, 2, 3] {
                    bench.receive(&tea, pieces).await.unwrap();
                }
                bench.create(&new_id("rsv"), &[(&tea, 2)]).await.unwrap();
            }
            let pages = async |size| verify::by_pages(&bench.db, Place::start(), size, None).await.unwrap().0;
            for size in [1, 2, 3, 100] {
                let found = pages(size).await;
                assert_eq!((found.items, found.problems), (5, vec![]), "{size} at a time");
            }
            bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
            for size in [1, 2, 100] {
                let found = pages(size).await;
                assert_eq!(found.items, 5);
                assert!(!found.problems.is_empty(), "{fault}, {size} at a time");
            }
        }
    }
}

/// What checks say that have so much time each, one after the other.
async fn verify_in(bench: &Bench, time: Duration) -> Vec<api::VerifyStockResponse> {
    let mut checks = Vec::new();
    let mut page_token = String::new();
    for _ in 0..20 {
        let call = Call::background("edge", time);
        let request = Request::new(api::VerifyStockRequest { page_token });
        let found = kit::call::run(call, bench.service.verify_stock(request)).await.unwrap().into_inner();
        page_token = found.next_page_token.clone();
        checks.push(found);
        if page_token.is_empty() {
            return checks;
        }
    }
    panic!("it does not end");
}

/// Time for a page.
const HASTE: Duration = Duration::from_millis(900);

#[tokio::test]
async fn a_check_that_runs_out_of_time_says_where_to_go_on_and_misses_nothing() {
    for bench in Bench::each().await {
        for _ in 0..3 {
            let tea = bench.variant(10).await;
            bench.create(&new_id("rsv"), &[(&tea, 2)]).await.unwrap();
        }
        let items = |checks: &[api::VerifyStockResponse]| checks.iter().map(|check| check.item_count).sum::<i64>();
        let checks = verify_in(&bench, HASTE).await;
        assert!(checks.len() > 1, "{checks:?}");
        assert_eq!(items(&checks), 3);
        for check in &checks {
            assert_eq!(check.problems, [""; 0]);
            assert_eq!(check.holds, check.next_page_token.is_empty(), "it holds only at the end: {checks:?}");
        }
        // Seen at the very end, when what is set aside is compared.
        let fault = "UPDATE stock_items SET reserved = 1 WHERE id = (SELECT MIN(id) FROM stock_items)";
        bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
        let checks = verify_in(&bench, HASTE).await;
        let problems: Vec<usize> = checks.iter().map(|check| check.problems.len()).collect();
        assert_eq!((items(&checks), problems.iter().sum(), problems.last()), (3, 1, Some(&1)), "{checks:?}");
        assert!(checks.iter().all(|check| !check.holds), "{checks:?}");
    }
}

#[tokio::test]
async fn a_fault_on_the_first_page_makes_the_last_say_that_not_everything_holds() {
    for bench in Bench::each().await {
        bench.variant(10).await;
        let fault = "UPDATE stock_items SET on_hand = on_hand + 1";
        bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
        let checks = verify_in(&bench, HASTE).await;
        let [first, .., last] = checks.as_slice() else { panic!("{checks:?}") };
        assert_eq!((first.problems.len(), last.problems.len(), last.holds), (1, 0, false), "{checks:?}");
    }
}

#[tokio::test]
async fn more_problems_than_one_check_tells_are_all_told_by_those_that_go_on() {
    // One for each item and two for the hundredth, which no longer fit; and then more of what is set aside than fit.
    const FAULTS: [&str; 3] = [
        "UPDATE stock_items SET on_hand = on_hand + 1",
        "DELETE FROM stock_movements
            WHERE stock_item_id = (SELECT id FROM stock_items ORDER BY id LIMIT 1 OFFSET 99)",
        "UPDATE stock_items SET reserved = 1 WHERE id IN (SELECT id FROM stock_items ORDER BY id LIMIT 90)",
    ];
    for bench in Bench::each().await {
        for _ in 0..120 {
            bench.variant(10).await;
        }
        for fault in FAULTS {
            bench.db.write(async |unit: &mut Unit| unit.exec(fault, &[]).await).await.unwrap();
        }
        let checks = verify_in(&bench, Duration::from_secs(60)).await;
        let told: Vec<(i64, usize)> = checks.iter().map(|check| (check.item_count, check.problems.len())).collect();
        assert_eq!(told, [(99, 99), (21, 22), (0, 90)]);
        let different: HashSet<&String> = checks.iter().flat_map(|check| &check.problems).collect();
        assert_eq!(different.len(), 211, "none is told twice");
        assert!(checks.iter().all(|check| !check.holds));
    }
}

#[tokio::test]
async fn a_token_that_says_nothing_to_verify_is_refused_and_not_taken_for_the_end() {
    for bench in Bench::each().await {
        let verify = async |page_token: String| {
            answer(bench.service.verify_stock(Request::new(api::VerifyStockRequest { page_token }))).await
        };
        let token = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            bench.service.0.tokens.encode(verify::TOKENS, &keys)
        };
        let nothing: [&[&str]; 4] = [&["true", "nothing", ""], &["true", "items"], &["set aside"], &["", "set aside"]];
        for page_token in nothing.map(token).into_iter().chain(["x".to_owned()]) {
            assert_eq!(verify(page_token).await.unwrap_err().reason(), "INVALID_PAGE_TOKEN");
        }
        assert!(verify(token(&["true", "set aside"])).await.unwrap().holds);
    }
}

#[tokio::test]
async fn the_database_itself_refuses_to_sell_twice() {
    const OVERSELL: [&str; 3] = [
        "UPDATE stock_items SET reserved = on_hand + 1",
        "UPDATE stock_items SET reserved = -1",
        "UPDATE stock_items SET on_hand = -1",
    ];
    for oversell in OVERSELL {
        for bench in Bench::each().await {
            bench.variant(1).await;
            let oversold = bench.db.write(async |unit: &mut Unit| unit.exec(oversell, &[]).await).await;
            assert_eq!(oversold.unwrap_err().reason(), "INTERNAL");
        }
    }
}
