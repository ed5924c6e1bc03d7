//! T-LATE-SUCCESS: a success that comes when the payment has ended never resurrects it.

use contracts::ledger::v1::hold;

use super::*;
use crate::{
    payment::{Command, Evidence, Payment, Release},
    provider::Token,
    settle,
};

const UNTIL: Timestamp = Timestamp::from_seconds(1_900_000_000);

fn success() -> Evidence {
    Evidence::Authorized { reference: "chg_late".to_owned(), expire_time: UNTIL }
}

#[tokio::test]
async fn a_payment_that_is_voided_while_the_provider_decides_is_voided_as_soon_as_it_is_granted() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001075").await;
        assert_eq!(bench.process(asked.clone()).await.unwrap().state(), State::Processing);
        assert_eq!(bench.void(&asked).await.unwrap().state(), State::Processing);
        assert_eq!(bench.later().await, 1, "the provider says that it does not know yet");
        assert_eq!(bench.state(&asked.id).await, State::Processing);
        bench.clock.advance(Duration::from_secs(30));
        assert_eq!(bench.send_callbacks().await, 1);
        assert_eq!(bench.state(&asked.id).await, State::Voided);
        assert_eq!(bench.path(&asked.id).await, ["PENDING", "PROCESSING", "PROCESSING", "AUTHORIZED", "VOIDED"]);
        assert_eq!(bench.facts(&asked.id).await, ["PaymentInitiated", "PaymentSuccess", "PaymentVoided"]);
        bench.assert_sound().await;
        assert_eq!(bench.reconcile().await, 1);
        const OPEN: &str = "SELECT COUNT(*) FROM simulator_charges WHERE state <> 'VOIDED'";
        assert_eq!(bench.number(OPEN).await, 0);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_success_that_comes_after_the_end_is_given_back_and_changes_no_state() {
    for bench in Bench::each().await {
        let declined = bench.card("4000000000000002").await;
        bench.process(declined.clone()).await.unwrap_err();
        let unheard = bench.card("4000000000001034").await;
        bench.process(unheard.clone()).await.unwrap();
        bench.void(&unheard).await.unwrap();
        bench.later().await;
        for (asked, facts) in [(&declined, 2), (&unheard, 2)] {
            assert_eq!(bench.state(&asked.id).await, State::Failed);
            for _ in 0..2 {
                settle::told(&bench.service, &asked.id, success()).await.unwrap();
            }
            assert_eq!(load(&bench, &asked.id).await.release, Release::Due);
            assert_eq!(bench.reconcile().await, 1);
            settle::told(&bench.service, &asked.id, success()).await.unwrap();
            let payment = load(&bench, &asked.id).await;
            assert_eq!((payment.release, payment.state), (Release::Done, crate::payment::State::Failed));
            assert_eq!(bench.facts(&asked.id).await.len(), facts);
            assert_eq!(bench.reconcile().await, 0);
        }
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_provider_that_cannot_let_go_yet_is_told_until_it_does() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001075").await;
        bench.process(asked.clone()).await.unwrap();
        // It refuses, and then its charge turns out to be still under way.
        let refusal = crate::payment::declined("gave_up", "No.");
        settle::told(&bench.service, &asked.id, Evidence::Refused(refusal)).await.unwrap();
        settle::told(&bench.service, &asked.id, success()).await.unwrap();
        assert_eq!(bench.reconcile().await, 0);
        assert_eq!(bench.later().await, 0, "it is told again, in vain");
        bench.clock.advance(Duration::from_secs(30));
        assert_eq!(bench.reconcile().await, 1);
        assert_eq!(load(&bench, &asked.id).await.release, Release::Done);
        bench.send_callbacks().await;
        bench.assert_sound().await;
    }
}

/// The hold is made, the payment is voided by somebody who finds none, and only then the payment is written.
#[tokio::test]
async fn a_hold_that_is_made_for_a_voided_payment_is_let_go() {
    for bench in Bench::each().await {
        let asked = purchase("10.00");
        let now = bench.clock.now();
        let blank = Payment::unknown(asked.id.clone(), asked.order_id.clone(), asked.owner_id.clone(), now);
        let payment = Payment {
            provider: "wallet".to_owned(),
            currency: crate::money::Currency { code: "USD".to_owned(), scale: 2 },
            amount: 1_000,
            ..blank.clone()
        };
        settle::open(&bench.service, &blank, Command::Void { taken: 0 }).await.unwrap();
        let evidence = as_service(settle::ask(&bench.service, &payment, &Token::default())).await.unwrap();
        assert_eq!(bench.ledger.hold(&asked.id).unwrap().0, hold::State::Held);
        settle::open(&bench.service, &payment, Command::Learn(evidence)).await.unwrap();
        assert_eq!(bench.state(&asked.id).await, State::Voided);
        assert_eq!(bench.reconcile().await, 1);
        assert_eq!(bench.ledger.hold(&asked.id).unwrap().0, hold::State::Voided);
        assert_eq!(bench.process(asked).await.unwrap_err().reason(), "INVALID_STATE_TRANSITION");
        assert_eq!(bench.reconcile().await, 0);
    }
}

async fn as_service<F: Future>(work: F) -> F::Output {
    kit::call::run(order_call(), work).await
}
