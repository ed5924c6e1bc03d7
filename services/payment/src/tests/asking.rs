//! Answers that come late, are lost, or never come; callers and processes that go away in between.

use super::*;
use crate::{
    payment::{Command, Evidence},
    provider::{Taking, Token},
    settle,
};

#[tokio::test]
async fn a_slow_provider_leaves_the_payment_processing_and_finishes_it_later() {
    for bench in Bench::each_impatient().await {
        let asked = bench.card("4000000000001018").await;
        let payment = bench.process(asked.clone()).await.unwrap();
        assert_eq!(payment.state(), State::Processing);
        assert_eq!(bench.process(asked.clone()).await.unwrap(), payment);
        let early = bench.capture(&asked.id, &shipment(), "", true).await.unwrap_err();
        assert_eq!(early.reason(), "PAYMENT_PROCESSING");
        assert_eq!(bench.refund(&asked.id, "").await.unwrap_err().reason(), "PAYMENT_PROCESSING");
        // The answer of the first request comes by itself: nobody has to ask again.
        bench.clock.advance(Duration::from_secs(5));
        eventually(async || bench.state(&asked.id).await == State::Authorized).await;
        assert_eq!((bench.reconcile().await, bench.send_callbacks().await), (0, 1));
        assert_eq!(bench.facts(&asked.id).await, ["PaymentInitiated", "PaymentSuccess"]);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_out_and_money_is_moved_once() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001026").await;
        assert_eq!(bench.process(asked.clone()).await.unwrap().state(), State::Processing);
        assert_eq!(bench.reconcile().await, 0, "the provider still has time");
        assert_eq!(bench.later().await, 1);
        assert_eq!(bench.state(&asked.id).await, State::Authorized);

        let first = shipment();
        let unanswered = bench.capture(&asked.id, &first, "4.00", false).await.unwrap_err();
        assert!(unanswered.retryable());
        assert_eq!(bench.figures(&asked.id).await, ["0.00", "6.00", "0.00"]);
        assert_eq!(bench.void(&asked).await.unwrap_err().reason(), "SERIALIZATION_FAILURE");
        assert_eq!(bench.later().await, 1);
        bench.capture(&asked.id, &first, "4.00", false).await.unwrap();
        assert_eq!(bench.figures(&asked.id).await, ["4.00", "6.00", "0.00"]);

        let refund = bench.refund(&asked.id, "1.00").await.unwrap();
        assert_eq!(refund.state(), api::refund::State::Processing);
        assert_eq!(bench.figures(&asked.id).await, ["4.00", "6.00", "1.00"]);
        bench.assert_sound().await;
        assert_eq!(bench.later().await, 1);
        assert_eq!(bench.path(&refund.id).await, ["PENDING", "PROCESSING", "SUCCEEDED"]);
        assert_eq!(bench.number("SELECT CAST(SUM(refunded) AS BIGINT) FROM simulator_charges").await, 100);
        assert_eq!(bench.send_callbacks().await, 0, "this provider tells nothing by itself");
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_capture_can_be_repeated_by_its_caller_until_it_is_answered() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001026").await;
        bench.process(asked.clone()).await.unwrap();
        bench.later().await;
        let first = shipment();
        assert_eq!(bench.capture(&asked.id, &first, "", true).await.unwrap_err().reason(), "PROVIDER_UNAVAILABLE");
        assert_eq!(bench.capture(&asked.id, &first, "", true).await.unwrap().state(), State::Captured);
        assert_eq!(bench.number("SELECT CAST(SUM(captured) AS BIGINT) FROM simulator_charges").await, 1_000);
        bench.assert_sound().await;
    }
}

/// What is left is let go with the last capture: nothing can be taken beside it.
#[tokio::test]
async fn nothing_is_captured_while_the_last_capture_is_under_way() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001026").await;
        bench.process(asked.clone()).await.unwrap();
        bench.later().await;
        let (last, another) = (shipment(), shipment());
        assert!(bench.capture(&asked.id, &last, "4.00", true).await.unwrap_err().retryable());
        for _ in 0..2 {
            let refused = bench.capture(&asked.id, &another, "2.00", false).await.unwrap_err();
            assert_eq!(refused.reason(), "SERIALIZATION_FAILURE");
        }
        assert_eq!(bench.capture(&asked.id, &last, "4.00", true).await.unwrap().state(), State::Captured);
        let refused = bench.capture(&asked.id, &another, "2.00", false).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_STATE_TRANSITION");
        assert_eq!(bench.figures(&asked.id).await, ["4.00", "0.00", "0.00"]);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn the_provider_takes_nothing_of_what_it_let_go() {
    for bench in Bench::each().await {
        let asked = bench.card(GOOD).await;
        bench.process(asked.clone()).await.unwrap();
        bench.capture(&asked.id, &shipment(), "4.00", true).await.unwrap();
        let payment = load(&bench, &asked.id).await;
        let (shipment_id, atoms) = (shipment(), Some(100));
        let asking = Taking { payment: &payment, shipment_id: &shipment_id, atoms, last: false };
        let refused = bench.service.provider(&payment).unwrap().capture(&asking).await.unwrap_err();
        assert_eq!(refused.metadata("decline_code"), Some("capture_refused"));
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_request_that_was_lost_is_made_again_under_the_same_key() {
    for bench in Bench::each().await {
        for (number, failures) in [("4000000000001034", 1), ("4000000000001083", 3)] {
            let asked = bench.card(number).await;
            assert_eq!(bench.process(asked.clone()).await.unwrap().state(), State::Processing);
            for _ in 1..failures {
                assert_eq!(bench.later().await, 0, "the provider is still down");
                assert_eq!(bench.state(&asked.id).await, State::Processing);
            }
            assert_eq!(bench.later().await, 1);
            assert_eq!(bench.state(&asked.id).await, State::Authorized);
        }
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges").await, 2);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_request_that_was_lost_is_not_made_again_once_the_payment_was_voided() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001034").await;
        bench.process(asked.clone()).await.unwrap();
        assert_eq!(bench.void(&asked).await.unwrap().state(), State::Processing);
        assert_eq!(bench.void(&asked).await.unwrap().sequence, 2);
        assert_eq!(bench.later().await, 1);
        let payment = bench.get(&asked.id).await;
        assert_eq!((payment.state(), payment.decline.unwrap().code.as_str()), (State::Failed, "never_received"));
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges WHERE state <> 'VOIDED'").await, 0);
        bench.assert_sound().await;
    }
}

/// Its process has ended meanwhile: nobody is left to give back what it would secure.
#[tokio::test]
async fn a_request_that_the_void_overtook_secures_nothing() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001034").await;
        bench.process(asked.clone()).await.unwrap();
        let before = load(&bench, &asked.id).await;
        bench.void(&asked).await.unwrap();
        bench.later().await;
        let evidence = settle::ask(&bench.service, &before, &token(&bench, &asked).await).await.unwrap();
        assert!(matches!(evidence, Evidence::Refused(_)), "{evidence:?}");
        assert_eq!(bench.state(&asked.id).await, State::Failed);
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges WHERE state <> 'VOIDED'").await, 0);
        bench.assert_sound().await;
    }
}

/// The provider's name for the card of a payment.
async fn token(bench: &Bench, asked: &api::ProcessPaymentRequest) -> Token {
    let id = asked.payment_method_id.clone();
    let read = async |session: &mut storage::Session| store::methods::load(session, &id).await;
    bench.db.read(read).await.unwrap().unwrap().token
}

/// T-STUCK: wherever the process ends, somebody who starts afterwards finishes the payment.
#[tokio::test]
async fn a_crash_between_any_two_steps_leaves_nothing_stuck() {
    for bench in Bench::each().await {
        let now = bench.clock.now();
        let mut left = Vec::new();
        for charged in [false, true] {
            // What the first unit of ProcessPayment writes, and nothing after it.
            let asked = bench.card(GOOD).await;
            let blank = Payment::unknown(asked.id.clone(), asked.order_id.clone(), asked.owner_id.clone(), now);
            let payment = Payment {
                method_id: Some(asked.payment_method_id.clone()),
                provider: "simulator".to_owned(),
                currency: crate::money::Currency { code: "USD".to_owned(), scale: 2 },
                amount: 1_000,
                ..blank
            };
            settle::open(&bench.service, &payment, Command::Ask).await.unwrap();
            if charged {
                // The provider has charged; its answer was not written.
                settle::ask(&bench.service, &payment, &token(&bench, &asked).await).await.unwrap();
            }
            left.push(asked);
        }
        assert_eq!(bench.later().await, 2);
        for asked in left {
            assert_eq!(bench.state(&asked.id).await, State::Authorized);
            assert_eq!(bench.process(asked).await.unwrap().state(), State::Authorized);
        }
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges").await, 2);
        bench.assert_sound().await;
    }
}

/// The call is dropped at each point where it waits, which is what a crash leaves of it.
#[tokio::test]
async fn a_call_that_is_dropped_anywhere_pays_once_when_it_is_repeated() {
    for bench in Bench::each().await {
        for (card, polls) in (0..12).map(|polls| (false, polls)).chain((0..12).map(|polls| (true, polls))) {
            let asked = if card { bench.card(GOOD).await } else { purchase("10.00") };
            poll_and_drop(bench.process(asked.clone()), polls).await;
            let payment = bench.process(asked.clone()).await.unwrap();
            if payment.state() == State::Processing {
                // Nobody may have been left to ask the provider.
                eventually(async || bench.later().await == 0 && bench.state(&asked.id).await == State::Authorized)
                    .await;
            }
            let first = shipment();
            poll_and_drop(bench.capture(&asked.id, &first, "4.00", false), polls).await;
            bench.capture(&asked.id, &first, "4.00", false).await.unwrap();
            assert_eq!(bench.figures(&asked.id).await, ["4.00", "6.00", "0.00"]);
            poll_and_drop(bench.void(&asked), polls).await;
            assert_eq!(bench.void(&asked).await.unwrap().state(), State::Captured);
            let refund = refund_of(&asked.id, "1.00");
            poll_and_drop(bench.ask_refund(refund.clone()), polls).await;
            let refund = bench.ask_refund(refund).await.unwrap();
            assert_eq!(refund.state(), api::refund::State::Succeeded);
            assert_eq!(bench.figures(&asked.id).await, ["4.00", "0.00", "1.00"]);
        }
        bench.later().await;
        bench.assert_sound().await;
    }
}

/// Lets `work` go on so many times, and drops it.
async fn poll_and_drop(work: impl Future, polls: usize) {
    let mut work = Box::pin(work);
    for _ in 0..polls {
        if futures::poll!(&mut work).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
