//! What happens when a neighbour, an answer or the process goes away in the middle of a purchase.

use api::order::State;
use contracts::r#type::v1::Reason;

use super::{
    fakes::{Mood, Moods},
    *,
};

/// The steps until an order is confirmed.
fn steps(bench: &Bench) -> [(&Moods, &'static str); 3] {
    let (stock, money) = (&bench.inventory.moods, &bench.payment.moods);
    [(stock, "reserve"), (money, "authorize"), (stock, "pin")]
}

/// Works until an RPC is called that hangs, and crashes there.
async fn crash_within(bench: &Bench, moods: &Moods, rpc: &'static str, work: impl Future) {
    let before = moods.calls(rpc);
    moods.set(rpc, Mood::Hanging);
    tokio::select! {
        _ = work => panic!("{rpc} was not called"),
        () = eventually(async || moods.calls(rpc) > before) => {}
    }
    moods.set(rpc, Mood::Well);
    bench.clock.advance(Duration::from_secs(6));
}

/// Benches whose service starts nothing by itself, as after a crash.
async fn crashed() -> Vec<Bench> {
    let mut benches = Vec::new();
    for database in storage::testing::each_database().await {
        benches.push(Bench::with(database, Settings { running_max: 0, ..Settings::default() }).await);
    }
    benches
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_counts_once() {
    for bench in Bench::each_patient().await {
        for (moods, rpc) in steps(&bench) {
            let me = user();
            bench.catalog.sell(basket(MUGS));
            moods.set(rpc, Mood::LosingAnswers);
            let id = bench.create(&me, items()).await.unwrap().id;
            eventually(async || bench.saga(&id).await.attempts == 1).await;
            let saga = bench.saga(&id).await;
            assert_eq!((saga.step.as_str(), saga.last_error.unwrap().reason.as_str()), (rpc, "DEPENDENCY_UNAVAILABLE"));
            moods.set(rpc, Mood::Well);
            bench.recover().await;
            bench.reaches(&me, &id, State::Confirmed).await;
        }
        assert_eq!((bench.inventory.reservations().len(), bench.payment.payments().len()), (3, 3));
    }
}

#[tokio::test]
async fn after_a_crash_anywhere_the_order_is_carried_on() {
    for bench in crashed().await {
        for (moods, rpc) in steps(&bench) {
            let me = user();
            bench.catalog.sell(basket(MUGS));
            let id = bench.create(&me, items()).await.unwrap().id;
            assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 0, "the lease has not ended");
            bench.clock.advance(Duration::from_secs(6));
            crash_within(&bench, moods, rpc, runner::reconcile_once(&bench.service)).await;
            assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 1);
            bench.reaches(&me, &id, State::Confirmed).await;
        }
        assert_eq!((bench.inventory.reservations().len(), bench.payment.payments().len()), (3, 3));
    }
}

#[tokio::test]
async fn after_a_crash_while_it_is_undone_it_is_undone() {
    for bench in crashed().await {
        for (moods, rpc) in [(&bench.payment.moods, "void"), (&bench.inventory.moods, "release")] {
            let me = user();
            bench.catalog.sell(basket(MUGS));
            let id = bench.create(&me, items()).await.unwrap().id;
            bench.recover().await;
            bench.cancel(&me, &id).await.unwrap();
            bench.clock.advance(Duration::from_secs(6));
            crash_within(&bench, moods, rpc, runner::reconcile_once(&bench.service)).await;
            bench.recover().await;
            bench.reaches(&me, &id, State::Cancelled).await;
            bench.assert_nothing_is_held();
        }
    }
}

#[tokio::test]
async fn after_a_crash_while_it_leaves_a_shipment_leaves_once_and_its_reply_is_kept() {
    for bench in crashed().await {
        for (moods, rpc) in [(&bench.inventory.moods, "commit"), (&bench.payment.moods, "capture")] {
            let me = user();
            bench.catalog.sell(basket(MUGS));
            let id = bench.create(&me, items()).await.unwrap().id;
            bench.recover().await;
            let request =
                api::CreateShipmentRequest { request_id: request_id(), order_id: id.clone(), ..Default::default() };
            let before = bench.payment.captured();
            // The first pass is detached from its caller, so its neighbour goes away instead.
            moods.set(rpc, Mood::Away);
            assert_eq!(bench.create_shipment(request.clone()).await.unwrap().state(), api::shipment::State::Preparing);
            bench.clock.advance(Duration::from_secs(6));
            crash_within(&bench, moods, rpc, runner::reconcile_once(&bench.service)).await;
            bench.recover().await;
            bench.reaches(&me, &id, State::Fulfilled).await;
            assert_eq!(bench.payment.captured() - before, 3_500);
            assert_eq!(bench.create_shipment(request).await.unwrap().state(), api::shipment::State::Shipped);
        }
    }
}

#[tokio::test]
async fn who_cannot_be_reached_in_time_rejects_the_order() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        bench.payment.moods.set("authorize", Mood::Away);
        let id = bench.create(&me, items()).await.unwrap().id;
        eventually(async || bench.saga(&id).await.attempts == 1).await;
        bench.recover().await;
        let order = bench.reaches(&me, &id, State::Rejected).await;
        assert_eq!(order.rejection.unwrap().reason, "DEPENDENCY_UNAVAILABLE");
        assert_eq!(bench.saga(&id).await.state(), api::saga::State::Compensated);
        bench.assert_nothing_is_held();
    }
}

async fn sagas(bench: &Bench, state: api::saga::State) -> Vec<String> {
    let request = Request::new(api::ListSagasRequest { state: state.into(), ..Default::default() });
    let found = answer(admin_call(), bench.service.list_sagas(request)).await.unwrap().sagas;
    found.into_iter().map(|saga| saga.order_id).collect()
}

pub async fn retry(bench: &Bench, order_id: &str) -> Result<api::Saga, Error> {
    let request = api::RetrySagaRequest { request_id: request_id(), order_id: order_id.to_owned() };
    Ok(answer(admin_call(), bench.service.retry_saga(Request::new(request))).await?.saga.unwrap())
}

/// T-STUCK.
#[tokio::test]
async fn what_cannot_be_undone_in_time_is_stuck_until_an_operator_takes_it_up() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.inventory.moods.set("release", Mood::Away);
        bench.cancel(&me, &id).await.unwrap();
        eventually(async || bench.saga(&id).await.attempts == 1).await;
        assert_eq!(bench.saga(&id).await.state(), api::saga::State::Compensating);
        assert_eq!(sagas(&bench, api::saga::State::Unspecified).await, std::slice::from_ref(&id));
        bench.clock.advance(Duration::from_secs(10 * 60));
        bench.recover().await;
        let saga = bench.saga(&id).await;
        assert_eq!((saga.state(), saga.step.as_str()), (api::saga::State::Stuck, "release"));
        assert_eq!(sagas(&bench, api::saga::State::Stuck).await, std::slice::from_ref(&id));
        assert_eq!(bench.service.stuck().await.unwrap(), 1);
        assert_eq!(bench.get(&me, &id).await.unwrap().state(), State::Cancelling);
        bench.inventory.moods.set("release", Mood::Well);
        bench.clock.advance(Duration::from_secs(60));
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 0, "it waits for an operator");
        assert_eq!(retry(&bench, &id).await.unwrap().state(), api::saga::State::Compensating);
        bench.reaches(&me, &id, State::Cancelled).await;
        assert_eq!(bench.service.stuck().await.unwrap(), 0);
        assert_eq!(retry(&bench, &id).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
    }
}

#[tokio::test]
async fn a_shipment_whose_money_is_refused_is_stuck_at_once() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench
            .payment
            .moods
            .set("capture", Mood::Refusing(Error::new(Reason::HoldExpired, "It was held for too long.")));
        let request =
            api::CreateShipmentRequest { request_id: request_id(), order_id: id.clone(), ..Default::default() };
        let shipment = bench.create_shipment(request.clone()).await.unwrap();
        assert_eq!(shipment.state(), api::shipment::State::Preparing, "as far as it came");
        assert_eq!(bench.create_shipment(request.clone()).await.unwrap_err().reason(), "REQUEST_IN_PROGRESS");
        let saga = bench.saga(&id).await;
        assert_eq!((saga.state(), saga.last_error.unwrap().reason.as_str()), (api::saga::State::Stuck, "HOLD_EXPIRED"));
        let refused = bench.cancel(&me, &id).await.unwrap_err();
        assert_eq!(
            (refused.reason(), refused.retryable()),
            ("INVALID_STATE_TRANSITION", false),
            "asking again is no use"
        );
        bench.payment.moods.set("capture", Mood::Well);
        retry(&bench, &id).await.unwrap();
        bench.reaches(&me, &id, State::Fulfilled).await;
        let kept = bench.create_shipment(request).await.unwrap();
        assert_eq!((kept.id, kept.state), (shipment.id, api::shipment::State::Shipped.into()));
        assert_eq!(bench.inventory.shipped(), 3);
    }
}

#[tokio::test]
async fn two_replicas_that_find_the_same_purchase_confirm_it_once() {
    for bench in crashed().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        let id = bench.create(&me, items()).await.unwrap().id;
        bench.clock.advance(Duration::from_secs(6));
        let other = bench.service.clone();
        let (one, two) = tokio::join!(runner::reconcile_once(&bench.service), runner::reconcile_once(&other));
        assert_eq!(one.unwrap() + two.unwrap(), 1);
        bench.reaches(&me, &id, State::Confirmed).await;
        assert_eq!(bench.facts().await.len(), 2);
    }
}
