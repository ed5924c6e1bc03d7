//! Returns.

use api::{order::State, r#return::State as Stands};

use contracts::{
    payment::v1::{Payment, Refund, RefundSucceeded, payment_event::Event},
    r#type::v1::Reason,
};
use storage::Session;

use super::{crashes::retry, fakes::Mood, *};

async fn announce(bench: &Bench, owner: &str, order_id: &str, quantity: i64) -> Result<api::Return, Error> {
    let request = api::CreateReturnRequest {
        request_id: request_id(),
        order_id: order_id.to_owned(),
        lines: vec![pieces("mug", quantity)],
        note: "Broken.".to_owned(),
    };
    Ok(answer(user_call(owner), bench.service.create_return(Request::new(request))).await?.r#return.unwrap())
}

async fn receive(bench: &Bench, id: &str, restock: bool) -> Result<api::Return, Error> {
    let request = api::ReceiveReturnRequest { request_id: request_id(), id: id.to_owned(), restock };
    Ok(answer(admin_call(), bench.service.receive_return(Request::new(request))).await?.r#return.unwrap())
}

async fn reject(bench: &Bench, id: &str) -> Result<api::Return, Error> {
    let rejection = "It is not ours.".to_owned();
    let request = api::RejectReturnRequest { request_id: request_id(), id: id.to_owned(), rejection };
    Ok(answer(admin_call(), bench.service.reject_return(Request::new(request))).await?.r#return.unwrap())
}

/// An order whose goods have left.
async fn shipped(bench: &Bench, owner: &str) -> String {
    let id = bench.buy(owner, MUGS, State::Confirmed).await.id;
    bench.ship(&id, &[]).await.unwrap();
    id
}

#[tokio::test]
async fn goods_that_come_back_go_into_stock_and_their_money_goes_back_without_shipping() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = shipped(&bench, &me).await;
        let announced = announce(&bench, &me, &id, 1).await.unwrap();
        assert_eq!((announced.state(), announced.amount.clone()), (Stands::Requested, amount("10.00", "USD")));
        let refunded = receive(&bench, &announced.id, true).await.unwrap();
        assert_eq!((refunded.state(), refunded.refund_id.is_empty()), (Stands::Refunded, false));
        assert_eq!((bench.inventory.returned(), bench.payment.refunded()), (1, 1_000));
        let rest = announce(&bench, &me, &id, 2).await.unwrap();
        receive(&bench, &rest.id, false).await.unwrap();
        assert_eq!((bench.inventory.returned(), bench.payment.refunded()), (1, 3_001));
        let order = bench.get(&me, &id).await.unwrap();
        let purchase = order.purchase.clone().unwrap();
        assert_eq!((order.state(), purchase.lines[0].returned), (State::Fulfilled, 3));
        assert_eq!(purchase.refunded, amount("30.01", "USD"));
        let told: Vec<_> = bench.facts().await.into_iter().map(|(_, name)| name).collect();
        assert_eq!(told[3..], ["ReturnReceived", "OrderUpdated", "ReturnReceived", "OrderUpdated"]);
        assert_eq!(bench.written("Broken").await.1, 0, "what people write is in no fact");
        let request = Request::new(api::ListReturnsRequest { order_id: id });
        assert_eq!(answer(user_call(&me), bench.service.list_returns(request)).await.unwrap().returns.len(), 2);
        let request = Request::new(api::GetReturnRequest { id: refunded.id.clone() });
        let found = answer(user_call(&me), bench.service.get_return(request)).await.unwrap();
        assert_eq!(found.r#return, Some(refunded));
    }
}

#[tokio::test]
async fn only_what_was_shipped_and_is_not_announced_yet_comes_back_in_time() {
    for bench in Bench::each_patient().await {
        let me = user();
        let unshipped = bench.buy(&me, MUGS, State::Confirmed).await.id;
        assert_eq!(announce(&bench, &me, &unshipped, 1).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        let id = shipped(&bench, &me).await;
        assert_eq!(announce(&bench, &user(), &id, 1).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        assert_eq!(announce(&bench, &me, &id, 4).await.unwrap_err().reason(), "QUANTITY_LIMIT");
        let first = announce(&bench, &me, &id, 2).await.unwrap();
        assert_eq!(announce(&bench, &me, &id, 2).await.unwrap_err().reason(), "QUANTITY_LIMIT");
        assert_eq!(reject(&bench, &first.id).await.unwrap().rejection, "It is not ours.");
        assert_eq!(receive(&bench, &first.id, true).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        announce(&bench, &me, &id, 2).await.unwrap();
        bench.clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
        assert_eq!(announce(&bench, &me, &id, 1).await.unwrap_err().reason(), "RETURN_WINDOW_CLOSED");
        closing::work(&bench.service).await.unwrap();
        assert_eq!(announce(&bench, &me, &id, 1).await.unwrap_err().reason(), "RETURN_WINDOW_CLOSED");
        assert_eq!(bench.payment.refunded(), 0);
    }
}

#[tokio::test]
async fn a_refund_whose_answer_is_lost_is_made_once_and_its_reply_is_kept() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = shipped(&bench, &me).await;
        for (moods, rpc) in [(&bench.inventory.moods, "adjust"), (&bench.payment.moods, "refund")] {
            let announced = announce(&bench, &me, &id, 1).await.unwrap();
            let request = api::ReceiveReturnRequest { request_id: request_id(), id: announced.id, restock: true };
            let ask = || answer(admin_call(), bench.service.receive_return(Request::new(request.clone())));
            moods.set(rpc, Mood::LosingAnswers);
            assert_eq!(ask().await.unwrap().r#return.unwrap().state(), Stands::Received);
            assert_eq!(ask().await.unwrap_err().reason(), "REQUEST_IN_PROGRESS");
            moods.set(rpc, Mood::Well);
            bench.recover().await;
            assert_eq!(ask().await.unwrap().r#return.unwrap().state(), Stands::Refunded);
        }
        assert_eq!((bench.inventory.returned(), bench.payment.refunded()), (2, 2_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_receive_the_same_return_give_the_money_back_once() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = shipped(&bench, &me).await;
        let announced = announce(&bench, &me, &id, 3).await.unwrap();
        let (one, two) = tokio::join!(receive(&bench, &announced.id, true), receive(&bench, &announced.id, true));
        assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1, "{one:?} {two:?}");
        assert_eq!((bench.inventory.returned(), bench.payment.refunded()), (3, 3_001));
    }
}

#[tokio::test]
async fn a_return_that_is_taken_up_after_keys_are_forgotten_gives_nothing_back_twice() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = shipped(&bench, &me).await;
        let announced = announce(&bench, &me, &id, 1).await.unwrap();
        bench.payment.moods.set("refund", Mood::LosingAnswers);
        assert_eq!(receive(&bench, &announced.id, true).await.unwrap().state(), Stands::Received);
        bench.payment.moods.set("refund", Mood::Well);
        bench.inventory.forget_keys();
        bench.payment.forget_keys();
        bench.recover().await;
        bench.reaches(&me, &id, State::Fulfilled).await;
        assert_eq!((bench.inventory.returned(), bench.payment.refunded()), (1, 1_000));
        let request = Request::new(api::GetReturnRequest { id: announced.id });
        let found = answer(user_call(&me), bench.service.get_return(request)).await.unwrap().r#return.unwrap();
        assert_eq!((found.state(), found.refund_id), (Stands::Refunded, bench.payment.refunds()[0].id.clone()));
    }
}

#[tokio::test]
async fn a_refund_that_was_refused_is_made_again_when_an_operator_says_so() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = shipped(&bench, &me).await;
        let announced = announce(&bench, &me, &id, 1).await.unwrap();
        bench.payment.moods.set("refund", Mood::Refusing(Error::new(Reason::PaymentDeclined, "The card is gone.")));
        assert_eq!(receive(&bench, &announced.id, true).await.unwrap().state(), Stands::Received);
        let saga = bench.saga(&id).await;
        assert_eq!(
            (saga.state(), saga.last_error.unwrap().reason.as_str()),
            (api::saga::State::Stuck, "PAYMENT_DECLINED")
        );
        bench.payment.moods.set("refund", Mood::Well);
        bench.clock.advance(Duration::from_secs(60));
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 0, "it waits for an operator");
        retry(&bench, &id).await.unwrap();
        bench.reaches(&me, &id, State::Fulfilled).await;
        assert_eq!((bench.inventory.returned(), bench.payment.refunded()), (1, 1_000));
        assert_eq!(bench.payment.refunds().len(), 2, "one that failed, and one that did not");
    }
}

#[tokio::test]
async fn a_return_whose_money_was_given_back_otherwise_gives_back_what_is_left() {
    for bench in Bench::each_patient().await {
        for (given, left) in [(3_500, "0.00"), (3_100, "4.00")] {
            let me = user();
            let id = shipped(&bench, &me).await;
            let before = bench.payment.refunded();
            bench.payment.give_back(&id, given);
            let announced = announce(&bench, &me, &id, 1).await.unwrap();
            let refunded = receive(&bench, &announced.id, false).await.unwrap();
            assert_eq!((refunded.state(), refunded.amount.clone()), (Stands::Refunded, amount(left, "USD")));
            assert_eq!(refunded.refund_id.is_empty(), given == 3_500);
            let before_that = if given == 3_500 { "10.00" } else { "6.00" };
            assert_eq!(refunded.given_back_before, amount(before_that, "USD"));
            let order = bench.reaches(&me, &id, State::Fulfilled).await;
            assert_eq!(order.purchase.unwrap().refunded, amount(left, "USD"));
            assert_eq!(bench.payment.refunded() - before, 3_500.min(given + 1_000));
        }
    }
}

#[tokio::test]
async fn an_order_counts_what_support_gives_back_and_each_of_its_own_refunds_once() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = shipped(&bench, &me).await;
        let refunded = async || bench.get(&me, &id).await.unwrap().purchase.unwrap().refunded;
        let told = async |(payment, refund): (Payment, Refund)| {
            bench.hear(payment, Event::RefundSucceeded(RefundSucceeded { refund: Some(refund) })).await;
        };
        let announced = announce(&bench, &me, &id, 1).await.unwrap();
        told(bench.payment.refund_for(&id, 250, "A scratch.")).await;
        told(bench.payment.refund_for(&id, 50, &id)).await;
        assert_eq!(refunded().await, amount("3.00", "USD"));

        // Whatever support says that it is for, it is not the refund of the return.
        told(bench.payment.refund_for(&id, 100, &announced.id)).await;
        assert_eq!(refunded().await, amount("4.00", "USD"));
        let received = receive(&bench, &announced.id, true).await.unwrap();
        assert_eq!((received.amount, received.given_back_before), (amount("10.00", "USD"), None));
        assert_eq!(refunded().await, amount("14.00", "USD"));
        let own = bench.payment.refunds().into_iter().find(|refund| refund.id == received.refund_id).unwrap();
        told((bench.payment.payments().remove(0), own)).await;
        assert_eq!(refunded().await, amount("14.00", "USD"), "counted when it was made");
        assert_eq!(bench.payment.refunded(), 1_400);
    }
}

#[tokio::test]
async fn a_return_goes_on_when_support_gives_money_back_at_the_same_moment() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = shipped(&bench, &me).await;
        let announced = announce(&bench, &me, &id, 1).await.unwrap();
        let (payment, refund) = bench.payment.refund_for(&id, 3_100, "");
        bench.payment.moods.set("refund", Mood::LosingAnswers);
        assert_eq!(receive(&bench, &announced.id, true).await.unwrap().state(), Stands::Received);
        bench.payment.moods.set("refund", Mood::Well);
        let stale = bench.db.read(async |session: &mut Session| store::load(session, &Scope::All, &id).await);
        let stale = stale.await.unwrap().unwrap();
        bench.hear(payment, Event::RefundSucceeded(RefundSucceeded { refund: Some(refund) })).await;
        let pass = kit::call::run(
            Call::background("order", Duration::from_secs(60)),
            runner::carry_on(&bench.service, stale, None),
        );
        let order = pass.await.unwrap().order;
        assert!(order.saga.is_idle(), "{:?}", order.saga);
        assert_eq!(order.purchase().unwrap().message().refunded, amount("35.00", "USD"));
        let request = Request::new(api::GetReturnRequest { id: announced.id });
        let shown = answer(user_call(&me), bench.service.get_return(request)).await.unwrap().r#return.unwrap();
        assert_eq!((shown.amount, shown.given_back_before), (amount("4.00", "USD"), amount("6.00", "USD")));
    }
}
