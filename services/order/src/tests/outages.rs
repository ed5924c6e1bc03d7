//! What was left undone is found, and carried on in good time; what cannot be is not hidden.

use api::order::State;
use contracts::payment::v1::payment;
use storage::{Bind, Session, Unit};

use super::{fakes::Mood, *};
use crate::{order, saga, store::Filter};

/// Benches whose service starts nothing by itself, as after a crash.
async fn crashed() -> Vec<Bench> {
    let mut benches = Vec::new();
    for database in storage::testing::each_database().await {
        benches.push(Bench::with(database, Settings { running_max: 0, ..Settings::default() }).await);
    }
    benches
}

async fn exec(bench: &Bench, sql: &'static str, binds: &[Bind]) {
    assert!(bench.db.write(async |unit: &mut Unit| unit.exec(sql, binds).await).await.unwrap() > 0);
}

async fn retry(bench: &Bench, order_id: &str) {
    let request = api::RetrySagaRequest { request_id: request_id(), order_id: order_id.to_owned() };
    answer(admin_call(), bench.service.retry_saga(Request::new(request))).await.unwrap();
}

#[tokio::test]
async fn orders_that_wait_keep_no_other_from_being_taken_over() {
    for bench in crashed().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        // None of them can end, and the clock stands: whatever pauses after some of them pauses for ever.
        bench.payment.become_next(payment::State::Processing, "");
        for _ in 0..40 {
            bench.create(&me, items()).await.unwrap();
        }
        bench.clock.advance(Duration::from_secs(6));
        let (drain, draining) = kit::drain::Drain::new();
        let service = bench.service.clone();
        let reconciler = tokio::spawn(async move { runner::reconcile(&service, &draining).await });
        eventually(async || bench.payment.payments().len() == 40).await;
        drain.start();
        reconciler.await.unwrap();
    }
}

#[tokio::test]
async fn many_orders_are_completed_with_one_commit() {
    for bench in Bench::each_patient().await {
        let me = user();
        for _ in 0..40 {
            let id = bench.buy(&me, MUGS, State::Confirmed).await.id;
            bench.ship(&id, &[]).await.unwrap();
        }
        bench.clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
        let before = bench.db.stats();
        assert_eq!(closing::work(&bench.service).await.unwrap(), 40);
        assert_eq!(bench.db.stats().units - before.units, 1);
        assert!(bench.states(&me).await.iter().all(|state| *state == State::Completed));
        assert_eq!(closing::work(&bench.service).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn news_of_a_payment_is_not_lost_to_a_pass_that_asked_before() {
    for bench in Bench::each_patient().await {
        let me = user();
        bench.payment.become_next(payment::State::Processing, "");
        bench.catalog.sell(basket(MUGS));
        let id = bench.create(&me, items()).await.unwrap().id;
        eventually(async || bench.saga(&id).await.attempts == 1).await;
        bench.clock.advance(Duration::from_secs(6));
        let claim = async |unit: &mut Unit| store::claim(unit, unit.now() + Duration::from_secs(5), 1).await;
        let held = bench.db.write(claim).await.unwrap().remove(0).order;
        // The pass has asked, and is told that the provider has not answered. Then it does.
        bench.db.write(async |unit: &mut Unit| store::wake(unit, &id).await).await.unwrap();
        let later = saga::Saga {
            attempts: held.saga.attempts + 1,
            next_attempt: Some(bench.clock.now() + Duration::from_secs(30)),
            ..held.saga.clone()
        };
        let note = async |unit: &mut Unit| store::note(unit, &held, &later).await;
        assert!(!bench.db.write(note).await.unwrap(), "it was put off");
        bench.payment.move_all(payment::State::Authorized);
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 1);
        bench.reaches(&me, &id, State::Confirmed).await;
    }
}

#[tokio::test]
async fn a_fault_of_our_own_is_counted_and_sticks_when_the_time_is_over() {
    for bench in crashed().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        let id = bench.create(&me, items()).await.unwrap().id;
        bench.recover().await;
        bench.payment.moods.set("capture", Mood::Away);
        bench.ship(&id, &[]).await.unwrap();
        bench.payment.moods.set("capture", Mood::Well);
        exec(&bench, "UPDATE shipments SET id = 'shp_lost' WHERE order_id = $1", &[(&id).into()]).await;
        bench.clock.advance(Duration::from_secs(6));
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 0);
        let saga = bench.saga(&id).await;
        assert_eq!((saga.attempts, saga.step.as_str(), saga.state()), (2, "load", api::saga::State::Running));
        assert_eq!(saga.last_error.unwrap().reason, "RESOURCE_NOT_FOUND");
        bench.clock.advance(Duration::from_secs(10 * 60));
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 0, "an order that is stuck is not finished");
        assert_eq!(bench.saga(&id).await.state(), api::saga::State::Stuck);
        assert_eq!(bench.service.stuck().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn an_order_that_cannot_even_be_given_up_is_stuck() {
    for bench in crashed().await {
        let me = user();
        bench.catalog.sell(basket(MUGS));
        let id = bench.create(&me, items()).await.unwrap().id;
        // Its second change finds a history that has one already.
        let plant = async |unit: &mut Unit| {
            unit.history(&storage::Change { aggregate: &id, sequence: 2, from: "", to: "PENDING", detail: Vec::new() });
            Ok(())
        };
        bench.db.write(plant).await.unwrap();
        bench.clock.advance(Duration::from_secs(6));
        assert_eq!(runner::reconcile_once(&bench.service).await.unwrap(), 0);
        let saga = bench.saga(&id).await;
        assert_eq!((saga.attempts, saga.step.as_str(), saga.state()), (1, "save", api::saga::State::Running));
        bench.clock.advance(Duration::from_secs(60));
        runner::reconcile_once(&bench.service).await.unwrap();
        let saga = bench.saga(&id).await;
        assert_eq!((saga.attempts, saga.state()), (2, api::saga::State::Running), "it is late, and may pass still");
        bench.clock.advance(Duration::from_secs(10 * 60));
        bench.recover().await;
        assert_eq!(bench.saga(&id).await.state(), api::saga::State::Stuck);
    }
}

#[tokio::test]
async fn an_operator_who_takes_up_a_trade_has_it_carried_out_at_once() {
    for bench in Bench::each_patient().await {
        let (me, request) = (user(), market_buy());
        bench.ledger.set(Mood::LosingAnswers);
        bench.create(&me, request.clone()).await.unwrap_err();
        let orders = bench.list(user_call(&me), api::ListOrdersRequest::default()).await.unwrap().orders;
        bench.ledger.set(Mood::Well);
        // The clock stands: nobody else takes it over.
        retry(&bench, &orders[0].id).await;
        eventually(async || bench.states(&me).await == [State::Fulfilled]).await;
        assert_eq!(bench.ledger.transactions().len(), 1);
        assert_eq!(bench.create(&me, request).await.unwrap().state(), State::Fulfilled, "the reply that was awaited");
    }
}

#[tokio::test]
async fn what_has_not_ended_is_found_without_looking_at_what_has() {
    install();
    for database in storage::testing::each_database().await {
        if !database.url().starts_with("sqlite") {
            // PostgreSQL plans by what is there, and here is nothing.
            continue;
        }
        let bench = Bench::with(database, Settings::default()).await;
        let explain = async |sql: String, binds: &[Bind]| {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let rows = async |session: &mut Session| session.rows_dynamic(sql, binds).await;
            bench.db.read(rows).await.unwrap()[0].text(3).unwrap()
        };
        for state in saga::State::ALL {
            let plan = explain(store::sagas_sql(Some(state)), &["".into(), 1.into(), state.name().into()]).await;
            let ended = matches!(state, saga::State::Succeeded | saga::State::Compensated);
            assert_eq!(plan.contains("orders_open"), !ended, "{state:?}: {plan}");
        }
        for state in order::State::ALL {
            let asked = Filter { state: Some(state), before: Some("ord_"), owner: None };
            let (sql, binds) = store::list_sql(&Scope::All, &asked, 1);
            let plan = explain(sql, &binds).await;
            assert_eq!(plan.contains("orders_by_state"), !state.is_final(), "{state:?}: {plan}");
            let of_one = Filter { owner: Some("usr_1"), ..asked };
            for (scope, asked) in [(Scope::Owner("usr_1".to_owned()), &asked), (Scope::All, &of_one)] {
                let (sql, binds) = store::list_sql(&scope, asked, 1);
                let plan = explain(sql, &binds).await;
                assert!(plan.contains("orders_by_owner"), "{state:?}: {plan}");
            }
        }
    }
}
