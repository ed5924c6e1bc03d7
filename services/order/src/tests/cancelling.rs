//! Cancelling, at every moment.

use api::order::State;
use contracts::payment::v1::{RefundSucceeded, payment, payment_event::Event};

use super::{fakes::Mood, *};

#[tokio::test]
async fn a_confirmed_order_is_cancelled_and_everything_is_given_back() {
    for bench in Bench::each_patient().await {
        let me = user();
        let order = bench.buy(&me, MUGS, State::Confirmed).await;
        let cancelling = bench.cancel(&me, &order.id).await.unwrap();
        assert_eq!((cancelling.state(), cancelling.sequence), (State::Cancelling, 3));
        let order = bench.reaches(&me, &order.id, State::Cancelled).await;
        assert_eq!(order.purchase.unwrap().lines[0].cancelled, 3);
        bench.assert_nothing_is_held();
        assert_eq!(bench.facts().await.last().unwrap(), &(3, "OrderCancelled".to_owned()));
        // Who asks again gets what it asked for.
        assert_eq!(bench.cancel(&me, &order.id).await.unwrap().state(), State::Cancelled);
    }
}

#[tokio::test]
async fn an_order_is_cancelled_while_it_is_being_carried_out() {
    for bench in Bench::each_patient().await {
        for (moods, rpc) in
            [(&bench.inventory.moods, "reserve"), (&bench.payment.moods, "authorize"), (&bench.inventory.moods, "pin")]
        {
            let me = user();
            bench.catalog.sell(basket(MUGS));
            let before = moods.calls(rpc);
            moods.set(rpc, Mood::Hanging);
            let id = bench.create(&me, items()).await.unwrap().id;
            eventually(async || moods.calls(rpc) > before).await;
            assert_eq!(bench.cancel(&me, &id).await.unwrap().state(), State::Cancelling);
            moods.set(rpc, Mood::Well);
            bench.reaches(&me, &id, State::Cancelled).await;
            bench.assert_nothing_is_held();
        }
    }
}

#[tokio::test]
async fn of_a_partly_shipped_order_the_rest_is_cancelled() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        assert_eq!(bench.cancel(&me, &id).await.unwrap().state(), State::PartiallyFulfilled);
        let purchase = bench.reaches(&me, &id, State::Fulfilled).await.purchase.unwrap();
        let line = &purchase.lines[0];
        assert_eq!((line.shipped, line.cancelled), (1, 2));
        assert_eq!((purchase.captured, bench.payment.captured()), (amount("14.99", "USD"), 1_499));
        assert_eq!(bench.inventory.shipped(), 1);
        bench.assert_nothing_is_held();
        assert_eq!(bench.cancel(&me, &id).await.unwrap_err().reason(), "ORDER_NOT_CANCELLABLE");
    }
}

#[tokio::test]
async fn what_has_ended_or_is_a_trade_or_is_of_someone_else_is_not_cancelled() {
    for bench in Bench::each_patient().await {
        let me = user();
        let trade = bench.create(&me, market_buy()).await.unwrap();
        assert_eq!(bench.cancel(&me, &trade.id).await.unwrap_err().reason(), "ORDER_NOT_CANCELLABLE");
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        assert_eq!(bench.cancel(&user(), &id).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        bench.ship(&id, &[]).await.unwrap();
        let error = bench.cancel(&me, &id).await.unwrap_err();
        assert_eq!((error.reason(), error.metadata("state")), ("ORDER_NOT_CANCELLABLE", Some("FULFILLED")));
    }
}

#[tokio::test]
async fn money_that_a_provider_took_at_once_goes_back() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.payment.become_next(payment::State::Captured, "");
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.payment.take_all();
        bench.cancel(&me, &id).await.unwrap();
        bench.reaches(&me, &id, State::Cancelled).await;
        assert_eq!((bench.payment.captured(), bench.payment.refunded()), (3_500, 3_500));
    }
}

#[tokio::test]
async fn of_money_that_a_provider_took_at_once_only_what_was_shipped_is_kept() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        bench.payment.take_all();
        bench.cancel(&me, &id).await.unwrap();
        let purchase = bench.reaches(&me, &id, State::Fulfilled).await.purchase.unwrap();
        assert_eq!(purchase.captured, amount("14.99", "USD"));
        assert_eq!((bench.payment.captured(), bench.payment.refunded()), (3_500, 2_001));
        let (paid, refund) = (bench.payment.payments().remove(0), bench.payment.refunds().remove(0));
        bench.hear(paid, Event::RefundSucceeded(RefundSucceeded { refund: Some(refund) })).await;
        let purchase = bench.get(&me, &id).await.unwrap().purchase.unwrap();
        assert_eq!(purchase.refunded, amount("0.00", "USD"), "what was never its own it does not count");
        assert_eq!(super::verifying::problems(&bench).await, [""; 0]);
    }
}

#[tokio::test]
async fn what_support_gave_back_before_is_not_given_back_again_and_not_missed() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        bench.payment.take_all();
        let (paid, refund) = bench.payment.refund_for(&id, 2_500, "Sorry.");
        bench.hear(paid, Event::RefundSucceeded(RefundSucceeded { refund: Some(refund) })).await;
        bench.cancel(&me, &id).await.unwrap();
        bench.reaches(&me, &id, State::Fulfilled).await;
        assert_eq!((bench.payment.captured(), bench.payment.refunded()), (3_500, 3_500));
        assert_eq!(super::verifying::problems(&bench).await, [""; 0]);
    }
}

/// T-F13.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_races_with_the_confirmation_and_with_itself_undoes_everything() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        for _ in 0..20 {
            let id = bench.create(&me, items()).await.unwrap().id;
            let (one, two) = tokio::join!(bench.cancel(&me, &id), bench.cancel(&me, &id));
            assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
            bench.reaches(&me, &id, State::Cancelled).await;
        }
        bench.assert_nothing_is_held();
        assert_eq!(bench.payment.captured(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_races_with_a_shipment_gets_all_or_nothing() {
    for bench in Bench::each_patient().await {
        let me = user();
        for _ in 0..20 {
            let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
            let before = bench.payment.captured();
            let (cancelled, shipped) = tokio::join!(bench.cancel(&me, &id), bench.ship(&id, &[]));
            let (end, taken) = match (cancelled, shipped) {
                (Ok(_), Err(error)) => {
                    assert!(["LOCK_CONFLICT", "INVALID_STATE_TRANSITION"].contains(&error.reason()), "{error}");
                    (State::Cancelled, 0)
                }
                (Err(error), Ok(_)) => {
                    assert!(["LOCK_CONFLICT", "ORDER_NOT_CANCELLABLE"].contains(&error.reason()), "{error}");
                    (State::Fulfilled, 3_500)
                }
                other => panic!("{other:?}"),
            };
            bench.reaches(&me, &id, end).await;
            assert_eq!(bench.payment.captured() - before, taken);
        }
        bench.assert_nothing_is_held();
    }
}
