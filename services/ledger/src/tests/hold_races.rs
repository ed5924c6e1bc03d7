//! Holds that many want at once, on both databases.

use contracts::ledger::v1::hold::State;

use super::{
    holds::{part, wanted},
    *,
};

/// Repeats what others were faster at, as payment does.
async fn persist<T>(mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match attempt().await {
            Err(error) if error.reason() == "SERIALIZATION_FAILURE" => tokio::task::yield_now().await,
            outcome => return outcome,
        }
    }
}

async fn post(bench: &Bench, request: api::PostHoldRequest) -> Result<api::PostHoldResponse, Error> {
    persist(async || bench.post_hold(request.clone()).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_posts_that_race_past_the_hold_move_no_more_than_it_has() {
    for bench in Bench::each().await {
        for _ in 0..20 {
            let (me, hold) = bench.holding("100", "50").await;
            let (one, other) =
                tokio::join!(post(&bench, part(&hold.id, "30", false)), post(&bench, part(&hold.id, "30", false)),);
            let refused = one.as_ref().err().or(other.as_ref().err()).map(Error::reason);
            assert_eq!((one.is_ok() != other.is_ok(), refused), (true, Some("EXCEEDS_HOLD")));
            assert_eq!(bench.balance(&me, "USD").await, ["70.00", "20.00", "50.00"]);
        }
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_post_sent_at_once_moves_once() {
    for bench in Bench::each().await {
        for last in [false, true] {
            let (me, hold) = bench.holding("100", "50").await;
            let request = part(&hold.id, "30", last);
            let repeats = (0..8).map(|_| post(&bench, request.clone()));
            let replies = futures::future::join_all(repeats).await;
            let first = replies[0].as_ref().unwrap();
            assert!(replies.iter().all(|reply| reply.as_ref().unwrap() == first), "{replies:?}");
            assert_eq!(bench.balance(&me, "USD").await[0], "70.00");
        }
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_void_and_a_post_that_race_one_is_refused() {
    for bench in Bench::each().await {
        for _ in 0..20 {
            let (me, hold) = bench.holding("100", "50").await;
            let (posted, voided) = tokio::join!(
                post(&bench, part(&hold.id, "50", true)),
                persist(async || bench.void_hold(&hold.id).await),
            );
            let left = match (posted, voided) {
                (Ok(_), Err(error)) if error.reason() == "HOLD_ALREADY_POSTED" => "50.00",
                (Err(error), Ok(_)) if error.reason() == "HOLD_ALREADY_VOIDED" => "100.00",
                outcome => panic!("{outcome:?}"),
            };
            assert_eq!(bench.balance(&me, "USD").await, [left, "0.00", left]);
        }
        assert!(bench.verify().await.holds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_void_and_a_create_that_race_nothing_stays_held() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "100").await.unwrap();
        for _ in 0..20 {
            let request = wanted(&me, "50");
            let (created, voided) = tokio::join!(
                persist(async || bench.create_hold(request.clone()).await),
                persist(async || bench.void_hold(&request.id).await),
            );
            assert_eq!(voided.unwrap().state(), State::Voided);
            assert!(created.is_ok() || created.is_err_and(|error| error.reason() == "HOLD_ALREADY_VOIDED"));
            assert_eq!(bench.balance(&me, "USD").await, ["100.00", "0.00", "100.00"]);
        }
        assert!(bench.verify().await.holds);
    }
}

/// T-HOT.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_of_one_account_hold_and_move_what_is_there_and_no_more() {
    for bench in Bench::each().await {
        let me = user();
        bench.deposit(&me, "320").await.unwrap();
        let client = async |number: usize| {
            let request = wanted(&me, "10");
            let hold = persist(async || bench.create_hold(request.clone()).await).await?;
            // A quarter each moves all of it, a part of it, all that is left, and nothing.
            match number % 4 {
                0 => post(&bench, part(&hold.id, "10", false)).await.map(drop),
                1 => post(&bench, part(&hold.id, "4", false)).await.map(drop),
                2 => post(&bench, part(&hold.id, "", true)).await.map(drop),
                _ => Ok(()),
            }
        };
        let outcomes = futures::future::join_all((0..64).map(client)).await;
        let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert!(refused.iter().all(|error| error.reason() == "INSUFFICIENT_FUNDS"), "{refused:?}");
        assert_eq!(refused.len(), 32);
        assert_eq!(bench.balance(&me, "USD").await[2], "0.00");
        let books = bench.verify().await;
        assert!(books.holds, "{books:?}");
    }
}
