//! What providers tell by themselves: signed, twice, early, late, and in every order.

use contracts::r#type::v1::Reason;

use super::*;
use crate::{payment::Evidence, settle, store, webhook};

/// Sends a callback as the simulator would, and says what it was answered.
async fn tell(bench: &Bench, payload: &str, signature: String) -> Result<(), Error> {
    let (provider, payload) = ("simulator".to_owned(), payload.to_owned());
    let request = api::HandleProviderWebhookRequest { provider, payload, signature };
    let outside = Call { scope: None, ..Call::background("edge", Duration::from_secs(60)) };
    answer(outside, bench.service.handle_provider_webhook(Request::new(request))).await.map(drop)
}

fn signed(bench: &Bench, payload: &str) -> String {
    webhook::sign(&bench.service.0.settings.webhook_secret, bench.clock.now(), payload)
}

async fn tell_signed(bench: &Bench, payload: &str) -> Result<(), Error> {
    tell(bench, payload, signed(bench, payload)).await
}

fn about(event: &str, kind: &str, key: &str) -> String {
    format!(r#"{{"id":"{event}","type":"{kind}","key":"{key}","charge":"chg_1","code":"no","expires":1900000000}}"#)
}

#[tokio::test]
async fn only_what_our_provider_signed_lately_is_believed() {
    for bench in Bench::each().await {
        let asked = bench.card("4000002500003155").await;
        bench.process(asked.clone()).await.unwrap();
        let payload = about("evt_1", "charge.authorized", &asked.id);
        let good = signed(&bench, &payload);
        let (time, tag) = good.split_once(",v1=").unwrap();
        let forged = [
            String::new(),
            "v1=".to_owned(),
            time.to_owned(),
            format!("{time},v1={}", "0".repeat(64)),
            format!("{time},v1={}", &tag[..63]),
            format!("{time},v1={}é", &tag[..62]),
            format!("{time}0,v1={tag}"),
            format!("t=,v1={tag}"),
            signed(&bench, "something else"),
            webhook::sign(&kit::config::Secret::new("another"), bench.clock.now(), &payload),
        ];
        for forged in forged {
            assert_eq!(
                tell(&bench, &payload, forged.clone()).await.unwrap_err().reason(),
                "SIGNATURE_INVALID",
                "{forged}"
            );
        }
        assert_eq!(bench.state(&asked.id).await, State::RequiresAction);
        bench.clock.advance(Duration::from_secs(301));
        let expired = tell(&bench, &payload, good.clone()).await.unwrap_err();
        assert_eq!((expired.reason(), expired.metadata("provider")), ("SIGNATURE_EXPIRED", Some("simulator")));
        let future = webhook::sign(
            &bench.service.0.settings.webhook_secret,
            bench.clock.now() + Duration::from_secs(301),
            &payload,
        );
        assert_eq!(tell(&bench, &payload, future).await.unwrap_err().reason(), "SIGNATURE_EXPIRED");
        // A provider that changes its secret signs twice.
        let anew = signed(&bench, &payload).replace(",v1=", &format!(",v1={},v1=", "0".repeat(64)));
        tell(&bench, &payload, anew).await.unwrap();
        assert_eq!(bench.state(&asked.id).await, State::Authorized);
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused() {
    for bench in Bench::each().await {
        for payload in ["", "{}", "[1]", r#"{"id":1}"#] {
            assert_eq!(tell_signed(&bench, payload).await.unwrap_err().reason(), "INVALID_FIELD");
        }
        let unknown = about("evt_1", "charge.authorized", &id("pay"));
        assert_eq!(tell_signed(&bench, &unknown).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        let unknown = about("evt_2", "refund.succeeded", &id("rfd"));
        assert_eq!(tell_signed(&bench, &unknown).await.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        tell_signed(&bench, &about("evt_3", "charge.archived", "anything")).await.unwrap();
        for provider in ["wallet", "another"] {
            let request = api::HandleProviderWebhookRequest { provider: provider.to_owned(), ..Default::default() };
            let refused = answer(order_call(), bench.service.handle_provider_webhook(Request::new(request))).await;
            assert_eq!(refused.unwrap_err().reason(), "RESOURCE_NOT_FOUND");
        }
    }
}

#[tokio::test]
async fn a_callback_that_comes_early_twice_or_late_changes_nothing_more() {
    for bench in Bench::each().await {
        for (number, delay) in [("4000000000001042", 0), ("4000000000001059", 0), ("4000000000001067", 60)] {
            let asked = bench.card(number).await;
            assert_eq!(bench.process(asked.clone()).await.unwrap().state(), State::Authorized);
            bench.clock.advance(Duration::from_secs(delay));
            bench.send_callbacks().await;
            assert_eq!(bench.facts(&asked.id).await, ["PaymentInitiated", "PaymentSuccess"], "{number}");
            assert_eq!(bench.get(&asked.id).await.sequence, 2);
        }
        assert_eq!(bench.number("SELECT COUNT(*) FROM provider_events").await, 3);
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_callbacks").await, 0);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_callback_that_comes_before_its_answer_takes_no_other_with_it() {
    for bench in Bench::each().await {
        let (another, early) = (bench.card(GOOD).await, bench.card("4000000000001042").await);
        bench.process(another).await.unwrap();
        bench.process(early.clone()).await.unwrap();
        assert_eq!(bench.facts(&early.id).await, ["PaymentInitiated", "PaymentSuccess"]);
        assert_eq!(bench.number("SELECT COUNT(*) FROM provider_events").await, 1);
        assert_eq!(bench.send_callbacks().await, 1);
        assert_eq!(bench.number("SELECT COUNT(*) FROM provider_events").await, 2);
    }
}

#[tokio::test]
async fn callbacks_are_sent_at_once_and_done_with_in_one_unit() {
    for bench in Bench::each().await {
        for _ in 0..20 {
            bench.process(bench.card(GOOD).await).await.unwrap();
        }
        let before = bench.db.stats().units;
        assert_eq!(bench.send_callbacks().await, 20);
        // Each is taken in a unit of its own.
        assert_eq!(bench.db.stats().units - before, 20 + 1);
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_callbacks").await, 0);
    }
}

/// INV-4: two that are told the same event at once have one effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_that_is_told_many_times_at_once_has_one_effect() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        let asked = bench.card("4000002500003155").await;
        bench.process(asked.clone()).await.unwrap();
        let payload = about("evt_1", "charge.authorized", &asked.id);
        let mut told = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (bench, payload) = (bench.clone(), payload.clone());
            told.spawn(async move { tell_signed(&bench, &payload).await });
        }
        assert!(told.join_all().await.into_iter().all(|answer| answer.is_ok()));
        assert_eq!(bench.get(&asked.id).await.sequence, 3);
        assert_eq!(bench.number("SELECT COUNT(*) FROM provider_events").await, 1);
    }
}

#[tokio::test]
async fn a_callback_that_is_not_taken_is_sent_again() {
    for bench in Bench::each().await {
        let asked = bench.card(GOOD).await;
        bench.process(asked.clone()).await.unwrap();
        bench.run_sql("ALTER TABLE provider_events RENAME TO elsewhere").await;
        assert_eq!(bench.send_callbacks().await, 0);
        bench.run_sql("ALTER TABLE elsewhere RENAME TO provider_events").await;
        assert_eq!(bench.send_callbacks().await, 0, "it waits a little");
        bench.clock.advance(Duration::from_secs(2));
        assert_eq!(bench.send_callbacks().await, 1);
    }
}

/// A payment that its buyer has confirmed and its provider has granted, which nobody has told us yet: three ways lead to
/// us. Gives back the payment, and what the provider would reply.
async fn confirmed(bench: &Bench) -> (api::ProcessPaymentRequest, Evidence) {
    let asked = bench.card("4000002500003155").await;
    bench.process(asked.clone()).await.unwrap();
    bench.send_callbacks().await;
    let before = load(bench, &asked.id).await;
    let work = async |unit: &mut storage::Unit| {
        let step = before.decide(crate::payment::Command::Confirm, unit.now())?.unwrap();
        store::payments::save(unit, &step, bench.service.soon(unit.now())).await?;
        Ok(step.payment)
    };
    let processing = bench.db.write(work).await.unwrap();
    let provider = bench.service.provider(&processing).unwrap();
    let reply = provider.confirm(&processing).await.unwrap();
    bench.clock.advance(Duration::from_secs(6));
    (asked, reply)
}

/// T-RACE-WEBHOOK: the reply of the confirmation, the callback about it and the reconciler, in all six orders, and each
/// of them twice.
#[tokio::test]
async fn reply_callback_and_reconciler_end_the_same_in_every_order() {
    for bench in Bench::each().await {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let (asked, reply) = confirmed(&bench).await;
            for way in order.into_iter().chain(order) {
                match way {
                    0 => drop(settle::told(&bench.service, &asked.id, reply.clone()).await.unwrap()),
                    1 => drop(bench.send_callbacks().await),
                    _ => drop(bench.reconcile().await),
                }
            }
            let payment = bench.get(&asked.id).await;
            assert_eq!((payment.state(), payment.sequence), (State::Authorized, 4), "{order:?}");
            assert_eq!(bench.facts(&asked.id).await, ["PaymentInitiated", "PaymentActionRequired", "PaymentSuccess"]);
        }
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges").await, 6);
        bench.assert_sound().await;
    }
}

/// T-RACE-WEBHOOK, all three at the same moment: whoever is first writes, and the others find that it is old news.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reply_callback_and_reconciler_that_come_at_once_have_one_effect() {
    for bench in Bench::each().await {
        let bench = Arc::new(bench);
        for round in 0..20 {
            let (asked, reply) = confirmed(&bench).await;
            let (one, two, three) = (bench.clone(), bench.clone(), bench.clone());
            let id = asked.id.clone();
            let replied = tokio::spawn(async move { settle::told(&one.service, &id, reply).await.map(drop) });
            let called = tokio::spawn(async move { two.send_callbacks().await });
            let reconciled = tokio::spawn(async move { three.reconcile().await });
            let (replied, called, reconciled) = tokio::join!(replied, called, reconciled);
            // Whoever lost against the others is told to try again, and does.
            assert!(replied.unwrap().map_or_else(|error| error.retryable(), |()| true));
            called.unwrap();
            reconciled.unwrap();
            eventually(async || {
                bench.later().await;
                bench.send_callbacks().await;
                bench.number("SELECT COUNT(*) FROM simulator_callbacks").await == 0
            })
            .await;
            let payment = bench.get(&asked.id).await;
            assert_eq!((payment.state(), payment.sequence), (State::Authorized, 4), "round {round}");
            let facts = bench.facts(&asked.id).await;
            assert_eq!(facts, ["PaymentInitiated", "PaymentActionRequired", "PaymentSuccess"], "round {round}");
        }
        assert_eq!(bench.number("SELECT COUNT(*) FROM provider_events").await, 40);
        assert_eq!(bench.number("SELECT COUNT(*) FROM simulator_charges").await, 20);
        bench.assert_sound().await;
    }
}

#[tokio::test]
async fn a_contradiction_about_a_refund_changes_nothing() {
    for bench in Bench::each().await {
        let payment = bench.captured().await;
        let refund = bench.refund(&payment.id, "1.00").await.unwrap();
        tell_signed(&bench, &about("evt_1", "refund.failed", &refund.id)).await.unwrap();
        assert_eq!(bench.path(&refund.id).await, ["PENDING", "PROCESSING", "SUCCEEDED"]);
        assert_eq!(bench.figures(&payment.id).await[2], "1.00");
    }
}

#[tokio::test]
async fn what_a_provider_refuses_for_good_is_an_answer() {
    for bench in Bench::each().await {
        let asked = bench.card("4000000000001034").await;
        bench.process(asked.clone()).await.unwrap();
        let removed = Error::new(Reason::PaymentMethodInvalid, "The card was removed.");
        let payment = settle::told(&bench.service, &asked.id, Evidence::Refused(removed)).await.unwrap();
        assert_eq!(payment.state, crate::payment::State::Failed);
        assert_eq!(bench.process(asked).await.unwrap_err().reason(), "PAYMENT_METHOD_INVALID");
    }
}
