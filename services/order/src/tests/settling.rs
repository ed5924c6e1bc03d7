//! What happens when the ledger, the caller or the process goes away in the middle.

use api::order::State;
use tokio::task::JoinSet;

use super::{fakes::Mood, *};

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_moves_money_once() {
    for bench in Bench::each().await {
        let (me, request) = (user(), market_buy());
        bench.ledger.set(Mood::LosingAnswers);
        let error = bench.create(&me, request.clone()).await.unwrap_err();
        assert_eq!(error.reason(), "DEPENDENCY_UNAVAILABLE");
        assert!(bench.ledger.calls() > 1);
        assert_eq!(bench.states(&me).await, [State::Pending]);
        let error = bench.create(&me, request.clone()).await.unwrap_err();
        assert_eq!(error.reason(), "REQUEST_IN_PROGRESS");

        bench.ledger.set(Mood::Well);
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 0, "the lease has not ended");
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 1);
        assert_eq!(bench.ledger.transactions().len(), 1);
        let order = bench.create(&me, request).await.unwrap();
        assert_eq!(order.state(), State::Fulfilled);
        assert_eq!(order.trade.unwrap().transaction_id, bench.ledger.transactions()[0].id);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_its_order() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        let me = user();
        bench.ledger.set(Mood::LosingAnswers);
        let caller = tokio::spawn({
            let (bench, me) = (bench.clone(), me.clone());
            async move { bench.create(&me, market_buy()).await }
        });
        eventually(async || bench.ledger.calls() > 0).await;
        caller.abort();
        bench.ledger.set(Mood::Well);
        eventually(async || bench.states(&me).await == [State::Fulfilled]).await;
        assert_eq!(bench.ledger.transactions().len(), 1);
    }
}

#[tokio::test]
async fn two_replicas_that_find_the_same_order_finish_it_once() {
    for bench in Bench::each().await {
        let me = user();
        bench.ledger.set(Mood::Away);
        bench.create(&me, market_buy()).await.unwrap_err();
        bench.ledger.set(Mood::Well);
        bench.clock.advance(Duration::from_secs(1));
        let other = bench.service.clone();
        let (one, two) = tokio::join!(runner::reconcile_once(&bench.service), runner::reconcile_once(&other));
        assert_eq!(one.unwrap() + two.unwrap(), 1);
        assert_eq!(bench.states(&me).await, [State::Fulfilled]);
        assert_eq!(bench.facts().await.len(), 3);
    }
}

#[tokio::test]
async fn a_ledger_that_hangs_leaves_the_order_pending_in_time() {
    for bench in Bench::each().await {
        let me = user();
        bench.ledger.set(Mood::Hanging);
        let error = bench.create(&me, market_buy()).await.unwrap_err();
        assert_eq!(error.reason(), "DEADLINE_EXCEEDED");
        assert_eq!(bench.states(&me).await, [State::Pending]);
    }
}

/// T-IDEM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_requests_are_one_order() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        let (me, request) = (user(), quoted("a quote"));
        let mut callers = JoinSet::new();
        for _ in 0..50 {
            let (bench, me, request) = (bench.clone(), me.clone(), request.clone());
            callers.spawn(async move { bench.create(&me, request).await });
        }
        let mut orders = Vec::new();
        for outcome in callers.join_all().await {
            match outcome {
                Ok(order) => orders.push(order),
                Err(error) => assert_eq!(error.reason(), "REQUEST_IN_PROGRESS"),
            }
        }
        assert!(!orders.is_empty() && orders.iter().all(|order| *order == orders[0]));
        assert_eq!(bench.create(&me, request).await.unwrap(), orders[0]);
        assert_eq!((bench.states(&me).await.len(), bench.ledger.calls()), (1, 1));
    }
}
