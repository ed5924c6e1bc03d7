//! The check of orders against everyone else: quiet when all is well, and heard when it is not.

use api::order::State;
use contracts::{
    inventory::v1::{Reservation, reservation},
    ledger::v1::{Hold, hold},
    payment::v1::{Payment, RefundSucceeded, payment, payment_event::Event},
};

use super::{fakes::Mood, *};

/// What is found once everything has rested.
pub async fn problems(bench: &Bench) -> Vec<String> {
    bench.clock.advance(Duration::from_secs(11));
    let request = Request::new(api::VerifyOrdersRequest::default());
    let found = answer(admin_call(), bench.service.verify_orders(request)).await.unwrap();
    assert_eq!(found.holds, found.problems.is_empty());
    found.problems
}

fn order_id() -> String {
    kit::id::new("ord", Timestamp::from_seconds(1))
}

#[tokio::test]
async fn nothing_is_found_after_purchases_of_every_end() {
    for bench in Bench::each_patient().await {
        let me = user();
        let cancelled = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.cancel(&me, &cancelled).await.unwrap();
        bench.reaches(&me, &cancelled, State::Cancelled).await;
        let shipped = bench.buy(&me, MUGS_AND_BOOK, State::PartiallyFulfilled).await.id;
        bench.ship(&shipped, &[pieces("mug", 2)]).await.unwrap();
        let rest = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&rest, &[pieces("mug", 2)]).await.unwrap();
        bench.cancel(&me, &rest).await.unwrap();
        bench.reaches(&me, &rest, State::Fulfilled).await;
        bench.buy(&me, MUGS, State::Confirmed).await;
        let refusal = Error::new(contracts::r#type::v1::Reason::OutOfStock, "No.");
        bench.inventory.moods.set("reserve", Mood::Refusing(refusal));
        bench.buy(&me, MUGS, State::Rejected).await;
        bench.create(&me, market_buy()).await.unwrap();
        let asked = bench.payment.moods.calls("get");
        assert_eq!(problems(&bench).await, [""; 0]);
        assert_eq!(bench.payment.moods.calls("get"), asked, "payments are listed, not asked for one by one");
    }
}

#[tokio::test]
async fn goods_and_money_that_nobody_needs_are_found_unless_they_end_by_themselves() {
    for bench in Bench::each_patient().await {
        let me = user();
        let cancelled = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.cancel(&me, &cancelled).await.unwrap();
        bench.reaches(&me, &cancelled, State::Cancelled).await;
        let state = reservation::State::Held.into();
        let held = Reservation { id: "rsv_1".into(), reference: order_id(), state, ..Default::default() };
        let late = Some(Timestamp::from_seconds(4_000_000_000).to_proto());
        bench.inventory.plant(Reservation { id: "rsv_2".into(), expire_time: late, ..held.clone() });
        bench.inventory.plant(Reservation { id: "rsv_3".into(), update_time: late, ..held.clone() });
        assert_eq!(problems(&bench).await, [""; 0]);
        bench.inventory.plant(held.clone());
        bench.inventory.plant(Reservation { id: "rsv_4".into(), reference: cancelled.clone(), ..held });
        let state = payment::State::Authorized.into();
        bench.payment.plant(Payment { id: "pay_1".into(), order_id: cancelled, state, ..Default::default() });
        let state = payment::State::Captured.into();
        bench.payment.plant(Payment { id: "pay_3".into(), order_id: order_id(), state, ..Default::default() });
        let state = hold::State::Held.into();
        bench.ledger.hold(Hold { id: "hld_1".into(), reference: "pay_2".into(), state, ..Default::default() });
        bench.ledger.hold(Hold { id: "hld_2".into(), reference: "wdl_1".into(), state, ..Default::default() });
        let mut found = problems(&bench).await;
        found.sort();
        let about: Vec<_> =
            found.iter().map(|problem| problem.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            about,
            ["INV-5: hld_1", "INV-5: pay_1", "INV-5: pay_3", "INV-5: rsv_1", "INV-5: rsv_4"],
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn an_order_without_its_goods_or_its_money_is_found() {
    for bench in Bench::each_patient().await {
        let me = user();
        let order = bench.buy(&me, MUGS, State::Confirmed).await;
        let purchase = order.purchase.unwrap();
        let [reservation] = bench.inventory.reservations().try_into().unwrap();
        bench.inventory.plant(Reservation { state: reservation::State::Released.into(), ..reservation.clone() });
        let [problem] = problems(&bench).await.try_into().unwrap();
        assert!(problem.contains("INV-8") && problem.contains(&order.id) && problem.contains("RELEASED"), "{problem}");
        bench.inventory.plant(reservation);
        let [paid] = bench.payment.payments().try_into().unwrap();
        for wrong in [
            Payment { state: payment::State::Voided.into(), ..paid.clone() },
            Payment { captured: amount("1.00", "USD"), ..paid.clone() },
        ] {
            bench.payment.plant(wrong);
            let [problem] = problems(&bench).await.try_into().unwrap();
            assert!(problem.contains("INV-8") && problem.contains(&purchase.payment_id), "{problem}");
        }
        bench.payment.plant(paid);
        assert_eq!(problems(&bench).await, [""; 0]);
    }
}

#[tokio::test]
async fn money_that_was_given_back_unheard_is_found() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[]).await.unwrap();
        assert_eq!(problems(&bench).await, [""; 0]);
        let (payment, refund) = bench.payment.refund_for(&id, 250, "A scratch.");
        let [problem] = problems(&bench).await.try_into().unwrap();
        assert!(problem.contains(&id) && problem.contains("more was given back"), "{problem}");
        bench.hear(payment, Event::RefundSucceeded(RefundSucceeded { refund: Some(refund) })).await;
        assert_eq!(problems(&bench).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_trade_without_a_transaction_of_its_own_is_found() {
    for bench in Bench::each_patient().await {
        let me = user();
        let one = bench.create(&me, market_buy()).await.unwrap().id;
        let two = bench.create(&me, market_buy()).await.unwrap().id;
        assert_eq!(problems(&bench).await, [""; 0]);
        let both = "UPDATE orders SET transaction_id = 'txn_1'";
        bench.db.write(async |unit: &mut storage::Unit| unit.exec(both, &[]).await).await.unwrap();
        let found = problems(&bench).await;
        assert!(found.len() == 2 && found.iter().any(|problem| problem.contains(&one)), "{found:?}");
        let none = "UPDATE orders SET transaction_id = NULL WHERE id = $1";
        bench.db.write(async |unit: &mut storage::Unit| unit.exec(none, &[(&two).into()]).await).await.unwrap();
        let [problem] = problems(&bench).await.try_into().unwrap();
        assert!(problem.contains(&two), "{problem}");
    }
}

#[tokio::test]
async fn pieces_and_charges_that_differ_from_the_shipments_are_found() {
    for bench in Bench::each_patient().await {
        let me = user();
        let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
        bench.ship(&id, &[pieces("mug", 1)]).await.unwrap();
        assert_eq!(problems(&bench).await, [""; 0]);
        let [reservation] = bench.inventory.reservations().try_into().unwrap();
        let mut wrong = reservation.clone();
        wrong.lines[0].committed = 2;
        bench.inventory.plant(wrong);
        let [problem] = problems(&bench).await.try_into().unwrap();
        assert!(problem.contains(&id) && problem.contains("pieces"), "{problem}");
        bench.inventory.plant(reservation);
        let lost = "UPDATE shipments SET order_id = 'ord_1'";
        bench.db.write(async |unit: &mut storage::Unit| unit.exec(lost, &[]).await).await.unwrap();
        let [problem] = problems(&bench).await.try_into().unwrap();
        assert!(problem.contains(&id) && problem.contains("shipments"), "{problem}");
    }
}

/// What is found by checks that have time for a page each, and how many orders that were.
async fn by_pages(bench: &Bench) -> (Vec<String>, i64) {
    bench.clock.advance(Duration::from_secs(11));
    let (mut problems, mut orders, mut page_token) = (Vec::new(), 0, String::new());
    for _ in 0..20 {
        let call = Call { scope: Some(Scope::All), ..Call::background("edge", Duration::from_millis(900)) };
        let request = Request::new(api::VerifyOrdersRequest { page_token });
        let found = answer(call, bench.service.verify_orders(request)).await.unwrap();
        problems.extend(found.problems);
        assert_eq!(found.holds, problems.is_empty() && found.next_page_token.is_empty(), "{problems:?}");
        orders += found.order_count;
        page_token = found.next_page_token;
        if page_token.is_empty() {
            return (problems, orders);
        }
    }
    panic!("it does not end");
}

#[tokio::test]
async fn a_check_that_runs_out_of_time_says_where_to_go_on_and_misses_nothing() {
    for bench in Bench::each_patient().await {
        let me = user();
        let wrong = bench.buy(&me, MUGS, State::Confirmed).await.id;
        let paid = bench.payment.payments().remove(0);
        for _ in 0..210 {
            bench.buy(&me, MUGS, State::Confirmed).await;
        }
        assert_eq!(by_pages(&bench).await, (Vec::new(), 211));
        bench.payment.plant(Payment { state: payment::State::Voided.into(), ..paid });
        let (problems, orders) = by_pages(&bench).await;
        assert_eq!((problems.len(), orders), (1, 211), "{problems:?}");
        assert!(problems[0].contains(&wrong), "on the last page: {problems:?}");
    }
}

#[tokio::test]
async fn a_fault_on_the_first_page_makes_the_last_say_that_not_everything_holds() {
    for bench in Bench::each_patient().await {
        let state = reservation::State::Held.into();
        let held = Reservation { id: "rsv_1".into(), reference: order_id(), state, ..Default::default() };
        bench.inventory.plant(held);
        bench.clock.advance(Duration::from_secs(11));
        let (mut checks, mut page_token) = (Vec::new(), String::new());
        while checks.is_empty() || !page_token.is_empty() {
            assert!(checks.len() < 20, "it does not end: {checks:?}");
            let call = Call { scope: Some(Scope::All), ..Call::background("edge", Duration::from_millis(900)) };
            let request = Request::new(api::VerifyOrdersRequest { page_token });
            let found = answer(call, bench.service.verify_orders(request)).await.unwrap();
            page_token = found.next_page_token.clone();
            checks.push(found);
        }
        let [first, .., last] = checks.as_slice() else { panic!("{checks:?}") };
        assert_eq!((first.problems.len(), last.problems.len(), last.holds), (1, 0, false), "{checks:?}");
    }
}

#[tokio::test]
async fn a_token_that_says_nothing_to_verify_is_refused_and_not_taken_for_the_end() {
    for bench in Bench::each_patient().await {
        let token = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            bench.service.0.tokens.encode(crate::verify::TOKENS, &keys)
        };
        let nothing: [&[&str]; 4] =
            [&["true", "nothing", ""], &["true", "orders"], &["orders", ""], &["", "orders", ""]];
        for page_token in nothing.map(token).into_iter().chain(["x".to_owned()]) {
            let request = Request::new(api::VerifyOrdersRequest { page_token });
            let refused = answer(admin_call(), bench.service.verify_orders(request)).await.unwrap_err();
            assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN");
        }
        let request = Request::new(api::VerifyOrdersRequest { page_token: token(&["true", "orders", ""]) });
        assert!(answer(admin_call(), bench.service.verify_orders(request)).await.unwrap().holds);
    }
}
