//! What happened to an order, and who did it.

use api::{order::State, order_change::Cause};
use contracts::payment::v1::{PaymentFailed, payment, payment_event::Event};
use futures::StreamExt;
use prost::Message;
use storage::Unit;

use super::*;

/// What happened, and who did it as the caller sees it.
async fn changes(bench: &Bench, call: Call, id: &str) -> Vec<(Cause, String)> {
    let request = Request::new(api::ListOrderChangesRequest { id: id.to_owned(), after_sequence: 0 });
    let listed = answer(call, bench.service.list_order_changes(request)).await.unwrap().changes;
    listed.into_iter().map(|change| (change.cause(), change.actor)).collect()
}

#[tokio::test]
async fn a_change_says_what_happened_and_who_did_it_and_staff_have_no_names_for_the_buyer() {
    for bench in Bench::each_patient().await {
        let (me, admin) = (user(), admin_call().principal());
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        bench.cancel(&me, &id).await.unwrap();
        bench.reaches(&me, &id, State::Fulfilled).await;
        let expected = |staff: &str, service: &str| {
            [
                (Cause::Placed, me.as_str()),
                (Cause::Confirmed, service),
                (Cause::ShipmentPacked, staff),
                (Cause::Shipped, service),
                (Cause::CancelRequested, me.as_str()),
                (Cause::Undone, service),
            ]
            .map(|(cause, actor)| (cause, actor.to_owned()))
        };
        assert_eq!(changes(&bench, admin_call(), &id).await, expected(&admin, "service/order"));
        assert_eq!(changes(&bench, user_call(&me), &id).await, expected("staff", "service"));
        let request = Request::new(api::WatchOrderRequest { id, after_sequence: 2 });
        let stream = answer(user_call(&me), bench.service.watch_order(request)).await.unwrap();
        let seen: Vec<Cause> = stream.map(|change| change.unwrap().cause()).collect().await;
        assert_eq!(seen, [Cause::ShipmentPacked, Cause::Shipped, Cause::CancelRequested, Cause::Undone]);
    }
}

#[tokio::test]
async fn a_change_from_before_causes_were_noted_says_nothing_of_it() {
    for bench in Bench::each_patient().await {
        let me = user();
        let order = bench.create(&me, market_buy()).await.unwrap();
        let alone = order.encode_to_vec();
        let forget = async |unit: &mut Unit| {
            unit.exec("UPDATE history SET detail = $1 WHERE sequence = 2", &[alone.clone().into()]).await
        };
        assert_eq!(bench.db.write(forget).await.unwrap(), 1);
        let changes = changes(&bench, admin_call(), &order.id).await;
        assert_eq!(changes, [(Cause::Placed, me), (Cause::Unspecified, String::new())]);
    }
}

#[tokio::test]
async fn an_order_that_nobody_cancelled_says_that_its_money_is_gone() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.payment.move_all(payment::State::Failed);
        let paid = bench.payment.payments().remove(0);
        bench.hear(paid, Event::PaymentFailed(PaymentFailed::default())).await;
        bench.recover().await;
        let order = bench.reaches(&me, &id, State::Cancelled).await;
        assert_eq!(order.rejection.unwrap().reason, "HOLD_EXPIRED");
        let (cause, _) = changes(&bench, user_call(&me), &id).await.remove(2);
        assert_eq!(cause, Cause::MoneyGone);
        let cancelled = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.cancel(&me, &cancelled).await.unwrap();
        assert_eq!(bench.reaches(&me, &cancelled, State::Cancelled).await.rejection, None, "who cancels knows why");
    }
}
