//! Many at once, on both databases.

use std::collections::HashMap;

use tokio::task::JoinSet;

use super::*;

/// Does `work` so many times at once, and counts the answers: a state, or the reason of a refusal. What others were
/// faster at is repeated, as the order's saga does.
async fn at_once<F>(times: usize, work: impl Fn(usize) -> F) -> HashMap<String, usize>
where
    F: Future<Output = Result<String, Error>> + Send + 'static,
{
    let mut crowd = JoinSet::new();
    for number in 0..times {
        crowd.spawn(work(number));
    }
    let mut counts = HashMap::new();
    for answer in crowd.join_all().await {
        *counts.entry(answer.unwrap_or_else(|error| error.reason().to_owned())).or_default() += 1;
    }
    counts
}

async fn persist<T, F: Future<Output = Result<T, Error>>>(mut work: impl FnMut() -> F) -> Result<T, Error> {
    loop {
        match work().await {
            Err(error) if error.retryable() => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> HashMap<String, usize> {
    expected.into_iter().map(|(answer, count)| (answer.to_owned(), count)).collect()
}

/// T-IDEM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_requests_are_one_payment() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        for asked in [purchase("10.00"), bench.card(GOOD).await] {
            let answers = at_once(50, |_| {
                let (bench, asked) = (bench.clone(), asked.clone());
                async move { Ok(persist(|| bench.process(asked.clone())).await?.id) }
            });
            assert_eq!(answers.await, counts([(asked.id.as_str(), 50)]));
            eventually(async || bench.state(&asked.id).await == State::Authorized).await;
            assert_eq!(bench.facts(&asked.id).await.last().unwrap(), "PaymentSuccess");
        }
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges").await, 1);
        bench.assert_sound().await;
    }
}

/// T-REFUND-RACE.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_refunds_that_race_past_what_was_taken_are_one_refund() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        for round in 0..20 {
            let payment = if round % 2 == 0 { bench.captured().await } else { taken(&bench).await };
            let answers = at_once(2, |_| {
                let (bench, request) = (bench.clone(), refund_of(&payment.id, "6.00"));
                async move { persist(|| bench.ask_refund(request.clone())).await.map(|_| "given".to_owned()) }
            });
            assert_eq!(answers.await, counts([("given", 1), ("REFUND_EXCEEDS_CAPTURED", 1)]));
            assert_eq!(bench.figures(&payment.id).await[2], "6.00");
        }
        assert_eq!(bench.ledger.refunded(), 6_000);
        bench.assert_sound().await;
    }
}

async fn taken(bench: &Bench) -> api::Payment {
    let asked = purchase("10.00");
    bench.process(asked.clone()).await.unwrap();
    bench.capture(&asked.id, &shipment(), "", true).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captures_that_race_take_no_more_than_was_secured() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        for asked in [purchase("10.00"), bench.card(GOOD).await] {
            bench.process(asked.clone()).await.unwrap();
            let answers = at_once(16, |_| {
                let (bench, asked, shipment) = (bench.clone(), asked.clone(), shipment());
                async move {
                    let taken = persist(|| bench.capture(&asked.id, &shipment, "1.50", false)).await;
                    taken.map(|_| "taken".to_owned())
                }
            });
            assert_eq!(answers.await, counts([("taken", 6), ("CAPTURE_EXCEEDS_AUTHORIZED", 10)]));
            assert_eq!(bench.figures(&asked.id).await, ["9.00", "1.00", "0.00"]);
        }
        bench.assert_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_races_a_void_is_taken_or_let_go_and_never_both() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        for round in 0..20 {
            let asked = if round % 2 == 0 { purchase("10.00") } else { bench.card(GOOD).await };
            bench.process(asked.clone()).await.unwrap();
            at_once(2, |number| {
                let (bench, asked, shipment) = (bench.clone(), asked.clone(), shipment());
                async move {
                    let payment = match number {
                        0 => persist(|| bench.capture(&asked.id, &shipment, "4.00", false)).await?,
                        _ => persist(|| bench.void(&asked)).await?,
                    };
                    Ok(payment.id)
                }
            })
            .await;
            let payment = bench.get(&asked.id).await;
            let captured = payment.captured.clone().unwrap().value;
            match payment.state() {
                State::Voided => assert_eq!(captured, "0.00"),
                state => assert_eq!((state, captured.as_str()), (State::Captured, "4.00")),
            }
            if let Some((_, _, posted)) = bench.ledger.hold(&asked.id) {
                assert_eq!(kit::amount::format(posted, 2), captured);
            }
        }
        bench.reconcile().await;
        bench.assert_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_find_the_same_payment_finish_it_once() {
    for bench in Bench::each().await {
        let mut left = Vec::new();
        for _ in 0..8 {
            let asked = bench.card("4000000000001034").await;
            bench.process(asked.clone()).await.unwrap();
            left.push(asked);
        }
        bench.clock.advance(Duration::from_secs(6));
        let other = bench.service.clone();
        let (one, two) = tokio::join!(reconcile::once(&bench.service), reconcile::once(&other));
        assert_eq!(one.unwrap() + two.unwrap(), 8);
        for asked in left {
            assert_eq!(bench.facts(&asked.id).await, ["PaymentInitiated", "PaymentSuccess"]);
        }
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges").await, 8);
        bench.assert_sound().await;
    }
}

/// The service as it runs: reconciler and callbacks in the background, until it is drained.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_service_finishes_what_was_left_and_ends_when_it_is_drained() {
    for bench in Bench::each_impatient().await {
        let log = storage::Log::open(&bench.database.log_url(), bench.clock.clone()).await.unwrap();
        let (drain, draining) = kit::drain::Drain::new();
        let running = tokio::spawn(bench.service.clone().run(log, draining));
        let mut left = Vec::new();
        for number in ["4000000000001034", "4000000000001026", "4000000000001075", "4000000000001018"] {
            let asked = bench.card(number).await;
            bench.process(asked.clone()).await.unwrap();
            left.push(asked);
        }
        for asked in &left {
            eventually(async || {
                bench.clock.advance(Duration::from_millis(500));
                bench.state(&asked.id).await == State::Authorized
            })
            .await;
        }
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges").await, 4);
        bench.assert_sound().await;
        assert!(kit::telemetry::render().contains("payment_unfinished_oldest_seconds"));
        drain.start();
        running.await.unwrap();
    }
}
