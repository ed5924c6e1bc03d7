//! What a reservation costs, and what neighbours in a batch do to each other: nothing.

use futures::future::join_all;

use super::*;
use crate::batch;

#[tokio::test]
async fn a_lone_reservation_costs_a_handful_of_statements_and_one_commit_a_step() {
    for bench in Bench::each().await {
        let tea = bench.variant(10).await;
        let (id, other) = (new_id("rsv"), new_id("rsv"));
        bench.create(&other, &[(&tea, 1)]).await.unwrap();
        assert_eq!(bench.cost(bench.create(&id, &[(&tea, 2)])).await, (4, 1));
        assert_eq!(bench.cost(bench.pin(&id)).await, (2, 1));
        assert_eq!(bench.cost(bench.commit(&id, &new_id("shp"), &[])).await, (6, 1));
        assert_eq!(bench.cost(bench.release(&other)).await, (5, 1));
    }
}

#[tokio::test]
async fn sixty_four_reservations_at_once_are_one_batch_of_a_handful_of_statements() {
    for bench in Bench::each().await {
        let tea = bench.variant(100).await;
        let ids: Vec<String> = (0..64).map(|_| new_id("rsv")).collect();
        // Facts are written with the other buffered rows on PostgreSQL, and by the 32 on SQLite.
        let facts = if bench.database.is_postgres() { 1 } else { 2 };
        let lines = [(tea.as_str(), 1)];
        let made = bench.cost(join_all(ids.iter().map(|id| bench.create(id, &lines)))).await;
        assert_eq!(made, (3 + facts, 1));
        assert_eq!(bench.counts(&tea).await, [100, 64, 36]);
        assert_eq!(bench.cost(join_all(ids.iter().map(|id| bench.pin(id)))).await, (2, 1));
        let shipment = new_id("shp");
        let shipped = bench.cost(join_all(ids.iter().map(|id| bench.commit(id, &shipment, &[])))).await;
        assert_eq!(shipped, (5 + facts, 1));
        assert_eq!(bench.counts(&tea).await, [36, 0, 36]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn in_a_batch_everyone_gets_an_answer_of_their_own_in_the_order_of_arrival() {
    for bench in Bench::each().await {
        let tea = bench.variant(5).await;
        let (kept, late) = (new_id("rsv"), new_id("rsv"));
        let rest: Vec<String> = (0..6).map(|_| new_id("rsv")).collect();
        let (one, six) = ([(tea.as_str(), 1)], [(tea.as_str(), 6)]);
        let (refused, made, again, reused, unknown) = tokio::join!(
            bench.create(&late, &six),
            bench.create(&kept, &one),
            bench.create(&kept, &one),
            bench.create(&kept, &six),
            bench.pin(&late),
        );
        assert_eq!(refused.unwrap_err().metadata("available"), Some("5"));
        assert_eq!(made.unwrap(), again.unwrap());
        assert_eq!(reused.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(unknown.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let made = join_all(rest.iter().map(|id| bench.create(id, &one))).await;
        assert!(made[..4].iter().all(Result::is_ok), "{made:?}");
        assert!(made[4..].iter().all(|made| made.as_ref().is_err_and(|error| error.reason() == "OUT_OF_STOCK")));
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_reservation_can_be_made_pinned_and_shipped_within_one_batch() {
    for bench in Bench::each().await {
        let tea = bench.variant(5).await;
        let (id, shipment) = (new_id("rsv"), new_id("shp"));
        let lines = [(tea.as_str(), 2)];
        let (made, pinned, shipped) =
            tokio::join!(bench.create(&id, &lines), bench.pin(&id), bench.commit(&id, &shipment, &[]));
        assert_eq!((made.unwrap().state(), pinned.unwrap().expire_time), (State::Held, None));
        assert_eq!(shipped.unwrap().state(), State::Committed);
        assert_eq!(bench.counts(&tea).await, [3, 0, 3]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_takes_nobody_along() {
    for bench in Bench::each().await {
        let tea = bench.variant(5).await;
        let (gone, stays) = (new_id("rsv"), new_id("rsv"));
        let lines = [(tea.as_str(), 1)];
        let leaving = async {
            tokio::select! {
                biased;
                made = bench.create(&gone, &lines) => drop(made),
                () = tokio::task::yield_now() => {}
            }
        };
        let (made, ()) = tokio::join!(bench.create(&stays, &lines), leaving);
        assert_eq!(made.unwrap().state(), State::Held);
        // Made or not, a repeat under the id finds out.
        bench.create(&gone, &lines).await.unwrap();
        assert_eq!(bench.counts(&tea).await, [5, 2, 3]);
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_alone_leaves_the_line_in_order() {
    for bench in Bench::each().await {
        let tea = bench.variant(5).await;
        let gone = new_id("rsv");
        let lines = [(tea.as_str(), 1)];
        tokio::select! {
            biased;
            made = bench.create(&gone, &lines) => drop(made),
            () = std::future::ready(()) => {}
        }
        bench.create(&new_id("rsv"), &lines).await.unwrap();
        assert_eq!(bench.get(&gone).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        assert_eq!(bench.counts(&tea).await, [5, 1, 4]);
    }
}

#[tokio::test]
async fn a_line_that_is_too_long_is_refused_and_whoever_stands_in_it_is_served() {
    for bench in Bench::each().await {
        let ids: Vec<String> = (0..batch::LINE + 10).map(|_| new_id("rsv")).collect();
        let answers = join_all(ids.iter().map(|id| bench.pin(id))).await;
        let count = |reason: &str| {
            let with = |answer: &&Result<_, Error>| answer.as_ref().is_err_and(|error| error.reason() == reason);
            answers.iter().filter(with).count()
        };
        assert_eq!((count("RESOURCE_NOT_FOUND"), count("OVERLOADED")), (batch::LINE, 10));
    }
}

#[tokio::test]
async fn a_large_batch_of_large_carts_is_written_in_slices() {
    for bench in Bench::each().await {
        let variants: Vec<crate::SeedStock> =
            (0..1_200).map(|_| crate::SeedStock { variant_id: new_id("var"), quantity: 2, low_threshold: 0 }).collect();
        bench.service.seed(&variants).await.unwrap();
        let carts: Vec<(String, Vec<(&str, i64)>)> = variants
            .chunks(100)
            .map(|cart| (new_id("rsv"), cart.iter().map(|seed| (seed.variant_id.as_str(), 2)).collect()))
            .collect();
        for made in join_all(carts.iter().map(|(id, lines)| bench.create(id, lines))).await {
            made.unwrap();
        }
        let shipment = new_id("shp");
        for shipped in join_all(carts.iter().map(|(id, _)| bench.commit(id, &shipment, &[]))).await {
            assert_eq!(shipped.unwrap().state(), State::Committed);
        }
        let check = bench.verify().await;
        assert_eq!((check.holds, check.item_count), (true, 2_400));
    }
}
