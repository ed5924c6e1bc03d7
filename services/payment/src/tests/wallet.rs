//! Payments from the wallet.

use contracts::ledger::v1::{Hold, hold};

use super::{fakes::Mood, *};
use crate::{money::Currency, wallet::posted};

const INVALID: &str = "INVALID_STATE_TRANSITION";

#[tokio::test]
async fn a_wallet_payment_is_held_taken_by_shipment_and_told_in_order() {
    for bench in Bench::each().await {
        let asked = purchase("10.00");
        let payment = bench.process(asked.clone()).await.unwrap();
        assert_eq!((payment.state(), payment.sequence, payment.provider.as_str()), (State::Authorized, 1, "wallet"));
        assert_eq!(bench.ledger.hold(&asked.id), Some((hold::State::Held, 1_000, 0)));
        bench.capture(&asked.id, &shipment(), "4.00", false).await.unwrap();
        assert_eq!(bench.figures(&asked.id).await, ["4.00", "6.00", "0.00"]);
        let payment = bench.capture(&asked.id, &shipment(), "", false).await.unwrap();
        assert_eq!(payment.state(), State::Captured);
        assert_eq!(bench.figures(&asked.id).await, ["10.00", "0.00", "0.00"]);
        assert_eq!(bench.ledger.hold(&asked.id), Some((hold::State::Posted, 1_000, 1_000)));
        assert_eq!(bench.path(&asked.id).await, ["PENDING", "AUTHORIZED", "AUTHORIZED", "CAPTURED"]);
        assert_eq!(bench.facts(&asked.id).await, ["PaymentSuccess", "PaymentCaptured", "PaymentCaptured"]);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_repeat_gives_the_payment_as_it_stands_and_another_content_is_refused() {
    for bench in Bench::each().await {
        let asked = purchase("10.00");
        let first = bench.process(asked.clone()).await.unwrap();
        assert_eq!(bench.process(asked.clone()).await.unwrap(), first);
        assert_eq!(bench.ledger.calls(), 1);
        let others = [
            api::ProcessPaymentRequest { amount: amount("10.01"), ..asked.clone() },
            api::ProcessPaymentRequest { owner_id: id("usr"), ..asked.clone() },
            api::ProcessPaymentRequest { order_id: id("ord"), ..asked.clone() },
            api::ProcessPaymentRequest { payment_method_id: id("pmt"), ..asked.clone() },
        ];
        for other in others {
            assert_eq!(bench.process(other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        }
        let captured = bench.capture(&asked.id, &shipment(), "", true).await.unwrap();
        assert_eq!(bench.process(asked).await.unwrap(), captured);
    }
}

#[tokio::test]
async fn an_empty_wallet_is_refused_as_the_ledger_says_it_and_stays_refused() {
    for bench in Bench::each().await {
        bench.ledger.fund(500);
        let asked = purchase("10.00");
        let refusal = bench.process(asked.clone()).await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.metadata("unit")), ("INSUFFICIENT_FUNDS", Some("USD")));
        let payment = bench.get(&asked.id).await;
        assert_eq!((payment.state(), payment.decline.unwrap().code.as_str()), (State::Failed, "insufficient_funds"));
        bench.ledger.fund(5_000);
        assert_eq!(bench.process(asked.clone()).await.unwrap_err(), refusal);
        assert_eq!(bench.facts(&asked.id).await, ["PaymentFailed"]);
        assert_eq!(bench.capture(&asked.id, &shipment(), "", true).await.unwrap_err().reason(), INVALID);
    }
}

#[tokio::test]
async fn a_ledger_that_cannot_be_reached_leaves_nothing_behind_and_the_repeat_pays_once() {
    for bench in Bench::each().await {
        let asked = purchase("10.00");
        for mood in [Mood::Away, Mood::LosingAnswers] {
            bench.ledger.set(mood);
            assert_eq!(bench.process(asked.clone()).await.unwrap_err().reason(), "DEPENDENCY_UNAVAILABLE");
            assert_eq!(bench.number("SELECT COUNT(*) FROM payments").await, 0);
        }
        bench.ledger.set(Mood::Well);
        // The hold that was made expires when it was to expire then.
        let until = bench.clock.now() + 7 * DAY;
        bench.clock.advance(Duration::from_secs(60));
        let payment = bench.process(asked.clone()).await.unwrap();
        assert_eq!((payment.state(), payment.expire_time), (State::Authorized, Some(until.to_proto())));
        let other = api::ProcessPaymentRequest { id: asked.id.clone(), ..purchase("10.00") };
        assert_eq!(bench.process(other).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        let shipment = shipment();
        bench.ledger.set(Mood::LosingAnswers);
        assert!(bench.capture(&asked.id, &shipment, "", true).await.is_err());
        assert_eq!(bench.ledger.hold(&asked.id), Some((hold::State::Posted, 1_000, 1_000)));
        bench.ledger.set(Mood::Well);
        assert_eq!(bench.capture(&asked.id, &shipment, "", true).await.unwrap().state(), State::Captured);
        assert_eq!(bench.figures(&asked.id).await[0], "10.00");
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_capture_counts_once_per_shipment_and_never_exceeds_what_was_secured() {
    for bench in Bench::each().await {
        let asked = purchase("10.00");
        bench.process(asked.clone()).await.unwrap();
        let first = shipment();
        bench.capture(&asked.id, &first, "6.00", false).await.unwrap();
        bench.capture(&asked.id, &first, "6.00", false).await.unwrap();
        assert_eq!(bench.figures(&asked.id).await, ["6.00", "4.00", "0.00"]);
        let other = bench.capture(&asked.id, &first, "5.00", false).await.unwrap_err();
        assert_eq!(other.reason(), "IDEMPOTENCY_KEY_REUSED");
        let refused = bench.capture(&asked.id, &shipment(), "4.01", false).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("remaining")), ("CAPTURE_EXCEEDS_AUTHORIZED", Some("4.00")));
        for (value, reason) in [("0.00", "AMOUNT_OUT_OF_RANGE"), ("0.001", "SCALE_EXCEEDED")] {
            assert_eq!(bench.capture(&asked.id, &shipment(), value, false).await.unwrap_err().reason(), reason);
        }
        let unknown = bench.capture(&id("pay"), &shipment(), "", true).await.unwrap_err();
        assert_eq!(unknown.reason(), "RESOURCE_NOT_FOUND");
        // The last one lets go of the rest.
        let last = bench.capture(&asked.id, &shipment(), "1.00", true).await.unwrap();
        assert_eq!(last.state(), State::Captured);
        assert_eq!(bench.figures(&asked.id).await, ["7.00", "0.00", "0.00"]);
        assert_eq!(bench.ledger.hold(&asked.id), Some((hold::State::Posted, 1_000, 700)));
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_void_lets_go_of_what_was_not_taken() {
    for bench in Bench::each().await {
        let asked = purchase("10.00");
        bench.process(asked.clone()).await.unwrap();
        let voided = bench.void(&asked).await.unwrap();
        assert_eq!(voided.state(), State::Voided);
        assert_eq!(bench.void(&asked).await.unwrap(), voided);
        assert_eq!(bench.process(asked.clone()).await.unwrap(), voided);
        assert_eq!(bench.ledger.hold(&asked.id).unwrap().0, hold::State::Voided);
        assert_eq!(bench.facts(&asked.id).await, ["PaymentSuccess", "PaymentVoided"]);

        let asked = purchase("10.00");
        bench.process(asked.clone()).await.unwrap();
        bench.capture(&asked.id, &shipment(), "3.00", false).await.unwrap();
        assert_eq!(bench.void(&asked).await.unwrap().state(), State::Captured);
        assert_eq!(bench.figures(&asked.id).await, ["3.00", "0.00", "0.00"]);
        assert_eq!(bench.ledger.hold(&asked.id), Some((hold::State::Voided, 1_000, 300)));
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn what_was_voided_before_it_was_asked_for_can_never_be_paid() {
    for bench in Bench::each().await {
        let asked = purchase("10.00");
        let voided = bench.void(&asked).await.unwrap();
        assert_eq!((voided.state(), voided.amount), (State::Voided, None));
        let refused = bench.process(asked.clone()).await.unwrap_err();
        assert_eq!((refused.reason(), refused.definitive()), (INVALID, true));
        let stranger = api::ProcessPaymentRequest { owner_id: id("usr"), ..asked.clone() };
        assert_eq!(bench.void(&stranger).await.unwrap_err().reason(), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(bench.ledger.hold(&asked.id).unwrap().0, hold::State::Voided);
        assert_eq!(bench.facts(&asked.id).await, ["PaymentVoided"]);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn money_that_was_secured_for_a_week_is_let_go() {
    for bench in Bench::each().await {
        let (asked, part) = (purchase("10.00"), purchase("10.00"));
        bench.process(asked.clone()).await.unwrap();
        bench.process(part.clone()).await.unwrap();
        bench.capture(&part.id, &shipment(), "3.00", false).await.unwrap();
        bench.clock.advance(7 * DAY - Duration::from_secs(1));
        assert_eq!(bench.reconcile().await, 0);
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.reconcile().await, 2);
        let payment = bench.get(&asked.id).await;
        assert_eq!((payment.state(), payment.decline.unwrap().code.as_str()), (State::Failed, "expired"));
        assert_eq!(bench.ledger.hold(&asked.id).unwrap().0, hold::State::Voided);
        assert_eq!(bench.process(asked.clone()).await.unwrap_err().reason(), "HOLD_EXPIRED");
        assert_eq!(bench.confirm(&asked.owner_id, &asked.id).await.unwrap_err().reason(), "HOLD_EXPIRED");
        // What was taken stays taken.
        assert_eq!(bench.state(&part.id).await, State::Captured);
        assert_eq!(bench.figures(&part.id).await, ["3.00", "0.00", "0.00"]);
        bench.clock.advance(DAY);
        assert_eq!(bench.reconcile().await, 0);
        bench.assert_sound().await;
    }
}

#[test]
fn an_amount_of_the_ledger_that_cannot_be_read_is_a_fault_and_not_nothing() {
    install();
    let blank = Payment::unknown(id("pay"), id("ord"), id("usr"), Timestamp::default());
    let dollars = Payment { currency: Currency { code: "USD".to_owned(), scale: 2 }, ..blank.clone() };
    let hold = |value: &str| Hold { amount: amount("10.00"), posted: amount(value), ..Hold::default() };
    assert_eq!(posted(&dollars, Some(&hold("4.00"))), Ok(400));
    // Without a payment the amount says itself how many decimals it has; voided before it was made, there is none.
    assert_eq!(posted(&blank, Some(&hold("0.50"))), Ok(50));
    assert_eq!(posted(&blank, Some(&Hold::default())), Ok(0));
    let silent = Hold { posted: None, ..hold("") };
    let faults = [
        (&dollars, Some(hold("four"))),
        (&dollars, Some(hold("0.001"))),
        (&blank, Some(hold(""))),
        (&dollars, Some(silent)),
        (&dollars, None),
    ];
    for (payment, hold) in faults {
        assert_eq!(posted(payment, hold.as_ref()).unwrap_err().reason(), "INTERNAL");
    }
}

#[tokio::test]
async fn a_wallet_payment_costs_few_statements() {
    for bench in Bench::each().await {
        let (one, two) = (purchase("10.00"), purchase("10.00"));
        bench.process(one.clone()).await.unwrap();
        let count = |name: &'static str, before: storage::Stats, limit: u64| {
            let after = bench.db.stats();
            let (statements, commits) = (after.statements - before.statements, after.commits - before.commits);
            assert!(statements <= limit && commits == 1, "{name}: {statements} statements, {commits} commits");
            after
        };
        let stats = bench.db.stats();
        bench.process(two.clone()).await.unwrap();
        let stats = count("process", stats, 4);
        bench.capture(&two.id, &shipment(), "4.00", true).await.unwrap();
        let stats = count("capture", stats, 5);
        bench.void(&one).await.unwrap();
        count("void", stats, 4);
    }
}
