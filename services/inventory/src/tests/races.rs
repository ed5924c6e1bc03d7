//! Many at once, in one process and on PostgreSQL in two: nothing is sold twice, and nobody stands in the other's way.

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use super::*;
use crate::SeedStock;

/// How many rounds, from the environment.
fn rounds() -> usize {
    std::env::var("AGORA_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

impl Bench {
    /// This process or the other.
    fn process(&self, number: usize) -> Service {
        if number.is_multiple_of(2) { self.service.clone() } else { self.replica.clone() }
    }
}

/// T-OVERSELL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_buyers_of_one_unit_one_gets_it_and_the_others_are_told_that_it_is_gone() {
    for bench in Bench::each().await {
        for round in 0..rounds() {
            let tea = bench.variant(1).await;
            let mut buyers = JoinSet::new();
            for number in 0..64 {
                let (service, tea) = (bench.process(number), tea.clone());
                buyers.spawn(async move { create(&service, &new_id("rsv"), &[(&tea, 1)]).await });
            }
            let outcomes = buyers.join_all().await;
            let refused: Vec<&Error> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
            let gone = |error: &&Error| {
                (error.reason(), error.metadata("variant"), error.metadata("available"))
                    == ("OUT_OF_STOCK", Some(tea.as_str()), Some("0"))
            };
            assert!(refused.iter().all(gone), "round {round}: {outcomes:?}");
            assert_eq!(refused.len(), 63, "round {round}");
            assert_eq!(bench.counts(&tea).await, [1, 1, 0]);
        }
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_racing_shipments_each_leaves_once_and_never_more_than_there_is() {
    for bench in Bench::each().await {
        for _ in 0..rounds() {
            let tea = bench.variant(3).await;
            let id = new_id("rsv");
            bench.create(&id, &[(&tea, 3)]).await.unwrap();
            let (same, other) = (new_id("shp"), new_id("shp"));
            let mut racers = JoinSet::new();
            for (number, shipment) in [&same, &same, &other].into_iter().enumerate() {
                let (service, id, shipment, tea) = (bench.process(number), id.clone(), shipment.clone(), tea.clone());
                racers.spawn(async move {
                    let outcome = commit(&service, &id, &shipment, &[(&tea, 2)]).await;
                    (shipment, outcome)
                });
            }
            let outcomes = racers.join_all().await;
            let of = |mine: &str| {
                let mine = outcomes.iter().filter(|(shipment, _)| shipment == mine);
                mine.map(|(_, outcome)| outcome.is_ok()).collect::<Vec<_>>()
            };
            assert_ne!(of(&same)[0], of(&other)[0], "{outcomes:?}");
            assert_eq!(of(&same)[0], of(&same)[1]);
            let refused = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
            assert!(refused.into_iter().all(|error| error.reason() == "QUANTITY_LIMIT"), "{outcomes:?}");
            assert_eq!(bench.counts(&tea).await, [1, 1, 0]);
        }
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_release_and_a_shipment_that_race_one_happens() {
    for bench in Bench::each().await {
        for _ in 0..rounds() {
            let tea = bench.variant(1).await;
            let id = new_id("rsv");
            bench.create(&id, &[(&tea, 1)]).await.unwrap();
            let shipping = tokio::spawn({
                let (service, id) = (bench.process(0), id.clone());
                async move { commit(&service, &id, &new_id("shp"), &[]).await }
            });
            let releasing = tokio::spawn({
                let (service, id) = (bench.process(1), id.clone());
                async move { release(&service, &id).await }
            });
            let (shipped, released) = (shipping.await.unwrap(), releasing.await.unwrap());
            // Who gives back what has left learns that it has; what was given back cannot leave.
            let (state, counts) = match (shipped, released.unwrap().state()) {
                (Ok(shipped), State::Committed) => (shipped.state(), [0, 0, 0]),
                (Err(refused), State::Released) if refused.reason() == "RESERVATION_NOT_HELD" => {
                    (State::Released, [1, 0, 1])
                }
                both => panic!("{both:?}"),
            };
            assert_eq!(bench.get(&id).await.unwrap().state(), state);
            assert_eq!(bench.counts(&tea).await, counts);
        }
        assert!(bench.verify().await.holds);
    }
}

/// T-DEADLOCK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carts_that_name_the_same_goods_in_opposite_order_never_block_each_other() {
    for bench in Bench::each().await {
        let variants = [bench.variant(1_000).await, bench.variant(1_000).await, bench.variant(1_000).await];
        for _ in 0..rounds() {
            let mut carts = JoinSet::new();
            for number in 0..16 {
                let (service, mut goods) = (bench.process(number), variants.clone());
                if number % 4 < 2 {
                    goods.reverse();
                }
                carts.spawn(async move {
                    let id = new_id("rsv");
                    let lines: Vec<(&str, i64)> = goods.iter().map(|variant| (variant.as_str(), 1)).collect();
                    create(&service, &id, &lines).await?;
                    release(&service, &id).await
                });
            }
            for outcome in carts.join_all().await {
                outcome.unwrap();
            }
        }
        for variant in &variants {
            assert_eq!(bench.counts(variant).await, [1_000, 0, 1_000]);
        }
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_reservations_at_once_are_one() {
    for bench in Bench::each().await {
        let tea = bench.variant(100).await;
        let id = new_id("rsv");
        let mut repeats = JoinSet::new();
        for number in 0..50 {
            let (service, id, tea) = (bench.process(number), id.clone(), tea.clone());
            repeats.spawn(async move { create(&service, &id, &[(&tea, 2)]).await });
        }
        let mut made: Vec<_> = repeats.join_all().await.into_iter().map(Result::unwrap).collect();
        made.dedup();
        assert_eq!(made.len(), 1);
        assert_eq!(bench.counts(&tea).await, [100, 2, 98]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_at_once_stock_adds_up() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        let mut variants = Vec::new();
        for _ in 0..4 {
            variants.push(bench.variant(20).await);
        }
        let ids: Vec<String> = (0..12).map(|_| new_id("rsv")).collect();
        let mut crowd = JoinSet::new();
        for seed in 0..12 {
            crowd.spawn(act_at_random(bench.clone(), variants.clone(), ids.clone(), seed));
        }
        crowd.join_all().await;
        let check = bench.verify().await;
        assert!(check.holds, "{check:?}");
        let facts = bench.facts().await;
        let mut last: Option<(String, i64)> = None;
        for (about, sequence, _) in facts {
            let before = last.take().filter(|(last, _)| *last == about).map_or(0, |(_, sequence)| sequence);
            assert_eq!(sequence, before + 1, "{about}");
            last = Some((about, sequence));
        }
    }
}

async fn act_at_random(bench: Arc<Bench>, variants: Vec<String>, ids: Vec<String>, seed: u64) {
    const EXPECTED: [&str; 6] = [
        "OUT_OF_STOCK",
        "IDEMPOTENCY_KEY_REUSED",
        "RESERVATION_NOT_HELD",
        "RESERVATION_EXPIRED",
        "RESOURCE_NOT_FOUND",
        "QUANTITY_LIMIT",
    ];
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..25 {
        let service = bench.process(rng.random_range(0..2));
        let mut id = ids[rng.random_range(0..ids.len())].clone();
        if rng.random_bool(0.3) {
            id = new_id("rsv");
        }
        let variant = &variants[rng.random_range(0..variants.len())];
        let quantity = rng.random_range(1..4);
        let done = match rng.random_range(0..8) {
            0..3 => create(&service, &id, &[(variant, quantity)]).await.map(drop),
            3 => commit(&service, &id, &new_id("shp"), &[]).await.map(drop),
            4 => release(&service, &id).await.map(drop),
            5 => bench.pin(&id).await.map(drop),
            6 => {
                bench.clock.advance(Duration::from_secs(100));
                crate::sweeper::sweep_as_itself(&service).await;
                Ok(())
            }
            _ => persist(&bench, variant, quantity).await,
        };
        if let Err(error) = done {
            assert!(EXPECTED.contains(&error.reason()), "{error}");
        }
    }
}

/// Repeats what others were faster at, as people do.
async fn persist(bench: &Bench, variant: &str, quantity: i64) -> Result<(), Error> {
    let request = adjustment(variant, &bench.location, Kind::Received, quantity);
    loop {
        match bench.adjust(request.clone()).await {
            Err(error) if !error.definitive() => assert_eq!(error.reason(), "SERIALIZATION_FAILURE"),
            outcome => return outcome.map(drop),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_add_the_first_stock_once() {
    for bench in Bench::each().await {
        let seed = |_| SeedStock { variant_id: new_id("var"), quantity: 5, low_threshold: 1 };
        let seeds: Vec<SeedStock> = (0..150).map(seed).collect();
        let (one, other) = tokio::join!(bench.service.seed(&seeds), bench.replica.seed(&seeds));
        one.unwrap();
        other.unwrap();
        for seed in &seeds {
            assert_eq!(bench.counts(&seed.variant_id).await, [5, 0, 5]);
        }
        assert!(bench.verify().await.holds);
    }
}
