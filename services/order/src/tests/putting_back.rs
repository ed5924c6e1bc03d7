//! Carts after a checkout that comes to nothing.

use api::order::State;
use contracts::r#type::v1::Reason;

use super::{
    carts::{checkout, contents},
    fakes::Mood,
    *,
};

async fn cart(bench: &Bench, owner: &str) -> String {
    contents(&bench.cart(user_call(owner), "").await.unwrap())
}

/// An order of two `a` and a `b` that waits for its payment.
async fn checked_out(bench: &Bench, owner: &str) -> api::Order {
    for (name, quantity) in [("a", 2), ("b", 1)] {
        bench.add(user_call(owner), "", name, quantity).await.unwrap();
    }
    bench.payment.moods.set("authorize", Mood::Away);
    let order = bench.checkout(owner, &checkout()).await.unwrap();
    eventually(async || bench.saga(&order.id).await.attempts > 0).await;
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ordered_is_back_in_the_cart_once_when_the_order_is_rejected() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        let placed = checked_out(&bench, &me).await;
        assert!(placed.purchase.unwrap().cart_id.starts_with("crt_"));
        for (name, quantity) in [("a", 1), ("c", 1)] {
            bench.add(user_call(&me), "", name, quantity).await.unwrap();
        }
        bench.payment.moods.set("authorize", Mood::Refusing(Error::new(Reason::InsufficientFunds, "Deposit more.")));
        let read = async |session: &mut storage::Session| store::load(session, &Scope::All, &placed.id).await;
        let order = bench.db.read(read).await.unwrap().unwrap();
        let pass = || {
            let pass = runner::carry_on(&bench.service, order.clone(), None);
            kit::call::run(Call::background("order", Duration::from_secs(60)), pass)
        };
        let (one, two) = tokio::join!(pass(), pass());
        assert!(one.is_ok() && two.is_ok());
        bench.recover().await;
        let rejected = bench.reaches(&me, &placed.id, State::Rejected).await;
        assert_eq!(rejected.rejection.unwrap().reason, "INSUFFICIENT_FUNDS");
        assert_eq!(cart(&bench, &me).await, "a 3, c 1, b 1", "what was put in meanwhile is kept");
        pass().await.unwrap();
        assert_eq!(cart(&bench, &me).await, "a 3, c 1, b 1");
    }
}

#[tokio::test]
async fn what_its_buyer_cancelled_or_never_had_in_a_cart_does_not_come_into_one() {
    for bench in Bench::each_with_shelf().await {
        let me = user();
        let id = checked_out(&bench, &me).await.id;
        bench.cancel(&me, &id).await.unwrap();
        bench.recover().await;
        bench.reaches(&me, &id, State::Cancelled).await;
        bench.payment.moods.set("authorize", Mood::Refusing(Error::new(Reason::InsufficientFunds, "Deposit more.")));
        let items = vec![pieces("a", 1)];
        let request = api::CreateOrderRequest { request_id: request_id(), items, ..Default::default() };
        let id = bench.create(&me, request).await.unwrap().id;
        bench.reaches(&me, &id, State::Rejected).await;
        assert_eq!(cart(&bench, &me).await, "");
    }
}
