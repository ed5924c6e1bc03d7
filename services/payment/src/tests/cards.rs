//! Payments by card: what every test card does.

use super::*;
use crate::simulator::cards;

#[tokio::test]
async fn a_card_payment_is_noted_before_the_provider_is_asked() {
    for bench in Bench::each().await {
        let asked = bench.card(GOOD).await;
        let payment = bench.process(asked.clone()).await.unwrap();
        assert_eq!((payment.state(), payment.provider.as_str()), (State::Authorized, "simulator"));
        assert_eq!(bench.process(asked.clone()).await.unwrap(), payment);
        assert_eq!(bench.path(&asked.id).await, ["PENDING", "PROCESSING", "AUTHORIZED"]);
        let first = shipment();
        bench.capture(&asked.id, &first, "4.00", false).await.unwrap();
        bench.capture(&asked.id, &first, "4.00", false).await.unwrap();
        assert_eq!(bench.figures(&asked.id).await, ["4.00", "6.00", "0.00"]);
        let other = bench.capture(&asked.id, &first, "", true).await.unwrap_err();
        assert_eq!(other.reason(), "IDEMPOTENCY_KEY_REUSED");
        let refused = bench.capture(&asked.id, &shipment(), "6.01", false).await.unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("remaining")), ("CAPTURE_EXCEEDS_AUTHORIZED", Some("6.00")));
        assert_eq!(bench.capture(&asked.id, &shipment(), "5.00", true).await.unwrap().state(), State::Captured);
        assert_eq!(bench.figures(&asked.id).await, ["9.00", "0.00", "0.00"]);
        let facts = ["PaymentInitiated", "PaymentSuccess", "PaymentCaptured", "PaymentCaptured"];
        assert_eq!(bench.facts(&asked.id).await, facts);
        assert_eq!((bench.send_callbacks().await, bench.later().await), (1, 0));
        assert_eq!(bench.state(&asked.id).await, State::Captured);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn cards_are_declined_by_their_number_and_stay_declined() {
    for bench in Bench::each().await {
        for (number, code) in [
            ("4000000000000002", "card_declined"),
            ("4000000000009995", "insufficient_funds"),
            ("4000000000000069", "expired_card"),
        ] {
            let asked = bench.card(number).await;
            let refusal = bench.process(asked.clone()).await.unwrap_err();
            assert_eq!((refusal.reason(), refusal.metadata("decline_code")), ("PAYMENT_DECLINED", Some(code)));
            assert_eq!(bench.process(asked.clone()).await.unwrap_err(), refusal);
            let payment = bench.get(&asked.id).await;
            assert_eq!((payment.state(), payment.decline.unwrap().code.as_str()), (State::Failed, code));
            assert_eq!(bench.facts(&asked.id).await, ["PaymentInitiated", "PaymentFailed"]);
            assert_eq!(bench.void(&asked).await.unwrap().state(), State::Failed);
        }
        assert_eq!((bench.send_callbacks().await, bench.later().await), (3, 0));
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_card_that_asks_its_buyer_goes_on_when_the_buyer_has_confirmed() {
    for bench in Bench::each().await {
        let asked = bench.card("4000002500003155").await;
        let payment = bench.process(asked.clone()).await.unwrap();
        assert_eq!(payment.state(), State::RequiresAction);
        assert!(payment.action_url.starts_with("https://"));
        let early = bench.capture(&asked.id, &shipment(), "", true).await.unwrap_err();
        assert_eq!(early.reason(), "PAYMENT_ACTION_REQUIRED");
        let stranger = bench.confirm(&id("usr"), &asked.id).await.unwrap_err();
        assert_eq!(stranger.reason(), "RESOURCE_NOT_FOUND");
        let payment = bench.confirm(&asked.owner_id, &asked.id).await.unwrap();
        assert_eq!((payment.state(), payment.action_url.as_str()), (State::Authorized, ""));
        assert_eq!(bench.confirm(&asked.owner_id, &asked.id).await.unwrap(), payment);
        // Both callbacks are old news.
        assert_eq!(bench.send_callbacks().await, 2);
        assert_eq!(bench.get(&asked.id).await, payment);
        assert_eq!(
            bench.path(&asked.id).await,
            ["PENDING", "PROCESSING", "REQUIRES_ACTION", "PROCESSING", "AUTHORIZED"]
        );
        assert_eq!(bench.facts(&asked.id).await, ["PaymentInitiated", "PaymentActionRequired", "PaymentSuccess"]);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_confirmation_can_be_in_vain_too_late_or_for_nothing() {
    for bench in Bench::each().await {
        let vain = bench.card("4000008400001629").await;
        bench.process(vain.clone()).await.unwrap();
        for _ in 0..2 {
            let refusal = bench.confirm(&vain.owner_id, &vain.id).await.unwrap_err();
            assert_eq!(refusal.metadata("decline_code"), Some("authentication_required"));
        }
        let slow = bench.card("4000002500003155").await;
        bench.process(slow.clone()).await.unwrap();
        bench.clock.advance(Duration::from_secs(30 * 60));
        assert_eq!(bench.reconcile().await, 1);
        assert_eq!(bench.state(&slow.id).await, State::Failed);
        let refusal = bench.confirm(&slow.owner_id, &slow.id).await.unwrap_err();
        assert_eq!(refusal.metadata("decline_code"), Some("action_expired"));
        let wallet = purchase("10.00");
        bench.process(wallet.clone()).await.unwrap();
        let refusal = bench.confirm(&wallet.owner_id, &wallet.id).await.unwrap_err();
        assert_eq!(refusal.reason(), "INVALID_STATE_TRANSITION");
        // The provider is told to let go.
        assert_eq!(bench.reconcile().await, 1);
        assert_eq!(bench.number("SELECT COUNT(*) FROM payments WHERE release = 'DONE'").await, 1);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_void_lets_the_provider_go_of_what_was_not_taken() {
    for bench in Bench::each().await {
        let (whole, part) = (bench.card(GOOD).await, bench.card(GOOD).await);
        let asking = bench.card("4000002500003155").await;
        for asked in [&whole, &part, &asking] {
            bench.process(asked.clone()).await.unwrap();
        }
        bench.capture(&part.id, &shipment(), "3.00", false).await.unwrap();
        assert_eq!(bench.void(&whole).await.unwrap().state(), State::Voided);
        assert_eq!(bench.void(&part).await.unwrap().state(), State::Captured);
        assert_eq!(bench.void(&asking).await.unwrap().state(), State::Voided);
        assert_eq!(bench.reconcile().await, 3);
        const OPEN: &str = "SELECT COUNT(*) FROM simulator_charges WHERE state <> 'VOIDED'";
        assert_eq!(bench.number(OPEN).await, 0);
        assert_eq!(bench.void(&whole).await.unwrap().state(), State::Voided);
        assert_eq!((bench.reconcile().await, bench.send_callbacks().await), (0, 3));
        let refusal = bench.capture(&whole.id, &shipment(), "", true).await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.metadata("from")), ("INVALID_STATE_TRANSITION", Some("VOIDED")));
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_provider_that_refuses_a_capture_leaves_the_money_secured() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001109").await;
        bench.process(asked.clone()).await.unwrap();
        let first = shipment();
        for _ in 0..2 {
            let refusal = bench.capture(&asked.id, &first, "4.00", false).await.unwrap_err();
            assert_eq!(refusal.metadata("decline_code"), Some("capture_refused"));
        }
        assert_eq!(bench.figures(&asked.id).await, ["0.00", "10.00", "0.00"]);
        assert_eq!(bench.void(&asked).await.unwrap().state(), State::Voided);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn every_test_card_ends_with_its_money_in_one_place() {
    for bench in Bench::each_impatient().await {
        let mut open = Vec::new();
        for number in cards::numbers() {
            let asked = bench.card(number).await;
            if let Err(refusal) = bench.process(asked.clone()).await {
                assert_eq!(refusal.reason(), "PAYMENT_DECLINED", "{number}");
            }
            open.push(asked);
        }
        // Enough time for every delay that a card has.
        for _ in 0..20 {
            bench.later().await;
            bench.send_callbacks().await;
        }
        for asked in open {
            match bench.state(&asked.id).await {
                State::Failed => {}
                State::RequiresAction => {
                    let _ = bench.confirm(&asked.owner_id, &asked.id).await;
                    assert!(matches!(bench.state(&asked.id).await, State::Authorized | State::Failed));
                }
                state => assert_eq!(state, State::Authorized),
            }
        }
        const TWICE: &str = "SELECT COUNT(*) - COUNT(DISTINCT key) FROM simulator_charges";
        assert_eq!(bench.number(TWICE).await, 0);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn of_a_card_that_is_secured_by_half_no_more_is_taken() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001133").await;
        bench.process(asked.clone()).await.unwrap();
        let refusal = bench.capture(&asked.id, &shipment(), "5.01", false).await.unwrap_err();
        assert_eq!(refusal.reason(), "CAPTURE_EXCEEDS_AUTHORIZED");
        assert_eq!(bench.figures(&asked.id).await, ["0.00", "10.00", "0.00"], "nothing has moved");
        bench.capture(&asked.id, &shipment(), "5.00", false).await.unwrap();
        assert_eq!(bench.figures(&asked.id).await, ["5.00", "5.00", "0.00"]);
        bench.void(&asked).await.unwrap();
        bench.reconcile().await;
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn without_a_provider_cards_are_refused_with_a_way_out() {
    for bench in Bench::each_with(Settings { simulator: false, ..settings() }).await {
        let refusal = bench.add_card(&id("usr"), GOOD).await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.definitive()), ("PAYMENT_METHOD_INVALID", true));
        assert!(refusal.message().contains("wallet"));
        let asked = api::ProcessPaymentRequest { payment_method_id: id("pmt"), ..purchase("10.00") };
        assert_eq!(bench.process(asked).await.unwrap_err().reason(), "PAYMENT_METHOD_INVALID");
        assert_eq!(bench.process(purchase("10.00")).await.unwrap().state(), State::Authorized);
        bench.assert_sound().await;
    }
}
