//! From a unit to the log to another service's unit: in order, nothing lost, nothing twice.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use kit::{
    Clock, Error,
    drain::{Drain, Draining},
};
use storage::{
    Backlog, Db, Event, Fact, Log, Options, Unit,
    consumer::{self, Consumer, Handler, dead_letters, release},
    relay,
    testing::{Database, each_database},
};
use tokio::task::JoinHandle;

use crate::fixture::{CounterEvent, TOPIC, add, at, count, number, open, options, value};

const OUTBOX: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM outbox";

/// Polls until it holds.
async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn logged(database: &Database) -> Log {
    Log::open(&database.log_url(), Clock::system()).await.unwrap()
}

async fn records(log: &Log) -> Vec<Event> {
    log.read(TOPIC, 0, 10_000).await.unwrap()
}

async fn emptied(db: &Db) {
    eventually("the outbox is empty", || async { number(db, OUTBOX, &[]).await == 0 }).await;
}

/// Offsets without a gap, and each aggregate's facts in order, once.
fn assert_in_order(records: &[Event]) {
    let mut aggregates = std::collections::HashMap::new();
    for (offset, record) in records.iter().enumerate() {
        assert_eq!(record.offset, offset as i64);
        let last = aggregates.insert(record.aggregate.clone(), record.sequence).unwrap_or(0);
        assert_eq!(record.sequence, last + 1, "{}", record.aggregate);
        assert_eq!(record.decode::<CounterEvent>().unwrap().value, record.sequence);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_reach_the_log_in_the_order_of_their_aggregate_though_two_relays_compete() {
    for database in each_database().await {
        let (db, logs) = (open(&database).await, Database::sqlite());
        let log = logged(&logs).await;
        let (drain, draining) = Drain::new();
        let relays: Vec<JoinHandle<()>> =
            (0..2).map(|_| tokio::spawn(relay::run(db.clone(), log.clone(), draining.clone()))).collect();
        let writers = (0..8).map(|writer| {
            let db = db.clone();
            tokio::spawn(async move {
                for _ in 0..30 {
                    let id = format!("counter-{writer}");
                    db.write(async |unit| count(unit, &id).await).await.unwrap();
                }
            })
        });
        for writer in join_all(writers).await {
            writer.unwrap();
        }
        emptied(&db).await;
        drain.start();
        for relay in relays {
            relay.await.unwrap();
        }
        let records = records(&log).await;
        assert_eq!(records.len(), 240);
        assert_in_order(&records);
        assert_eq!(log.end(TOPIC).await.unwrap(), 240);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_unit_tells_nothing() {
    for database in each_database().await {
        let db = open(&database).await;
        let refused = db
            .write(async |unit| {
                count(unit, "a").await?;
                Err::<(), _>(Error::named("INSUFFICIENT_FUNDS", "No."))
            })
            .await;
        assert!(refused.is_err());
        assert_eq!(number(&db, OUTBOX, &[]).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_appended_and_not_yet_removed_is_published_once() {
    for database in each_database().await {
        let db = open(&database).await;
        let log = logged(&database).await;
        for _ in 0..3 {
            db.write(async |unit| count(unit, "a").await).await.unwrap();
        }
        relay_all(&db, &log).await;
        // As after a crash between append and removal: the facts of the log are in the outbox still.
        for record in records(&log).await {
            let sql = "INSERT INTO outbox (id, topic, type, aggregate, sequence, time, trace, payload)
                VALUES ($1, $2, $3, $4, $5, $6, '', $7)";
            let head = [record.id.into(), record.topic.into(), record.kind.into(), record.aggregate.into()];
            let tail = [record.sequence.into(), record.time.into(), record.payload.into()];
            db.write(async |unit| unit.exec(sql, &[head.as_slice(), &tail].concat()).await).await.unwrap();
        }
        db.write(async |unit| count(unit, "a").await).await.unwrap();
        relay_all(&db, &log).await;
        let records = records(&log).await;
        assert_eq!(records.len(), 4);
        assert_in_order(&records);
    }
}

/// Runs a relay until the outbox is empty.
async fn relay_all(db: &Db, log: &Log) {
    let (drain, draining) = Drain::new();
    let relay = tokio::spawn(relay::run(db.clone(), log.clone(), draining));
    emptied(db).await;
    drain.start();
    relay.await.unwrap();
}

/// Counts each fact once and can be told to fail.
#[derive(Clone, Default)]
struct Follower {
    refuses: Arc<Mutex<Option<(String, i64)>>>,
    panics: Arc<AtomicBool>,
    transient: Arc<AtomicUsize>,
    handled: Arc<AtomicUsize>,
}

impl Handler for Follower {
    async fn handle(&self, unit: &mut Unit, event: &Event) -> Result<(), Error> {
        add(unit, &format!("seen-{}", event.aggregate), 1).await?;
        self.handled.fetch_add(1, SeqCst);
        if self.transient.load(SeqCst) > 0 {
            self.transient.fetch_sub(1, SeqCst);
            return Err(Error::named("OVERLOADED", "Later."));
        }
        let refused = self.refuses.lock().unwrap().clone();
        if refused == Some((event.aggregate.clone(), event.sequence)) {
            assert!(!self.panics.load(SeqCst), "a handler with a fault");
            return Err(Error::named("INVALID_STATE_TRANSITION", "This cannot follow."));
        }
        Ok(())
    }
}

fn follow(db: &Db, log: &Log, follower: &Follower, draining: Draining) -> JoinHandle<()> {
    let consumer = Consumer { group: "probe", topics: &[TOPIC], db: db.clone(), log: log.clone() };
    tokio::spawn(consumer::run(consumer, follower.clone(), draining))
}

async fn seen(db: &Db, aggregate: &str, times: i64) {
    let id = format!("seen-{aggregate}");
    eventually(&format!("{times} facts of {aggregate}"), || async { value(db, &id).await == times }).await;
}

/// Tells `facts` of each of the aggregates.
async fn tell(db: &Db, log: &Log, aggregates: &[&str], facts: usize) {
    for _ in 0..facts {
        for aggregate in aggregates {
            db.write(async |unit| count(unit, aggregate).await).await.unwrap();
        }
    }
    relay_all(db, log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_takes_effect_once_though_the_topic_is_delivered_again_from_its_start() {
    for database in each_database().await {
        let (db, log) = (open(&database).await, logged(&database).await);
        tell(&db, &log, &["a", "b"], 20).await;
        let follower = Follower::default();
        for run in 1..=3 {
            let (drain, draining) = Drain::new();
            let consumer = follow(&db, &log, &follower, draining);
            seen(&db, "a", 20).await;
            seen(&db, "b", 20).await;
            let at_the_end = "SELECT CAST(COALESCE(MAX(next_offset), 0) AS BIGINT) FROM consumer_offsets";
            eventually("the end", || async { number(&db, at_the_end, &[]).await == 40 }).await;
            drain.start();
            consumer.await.unwrap();
            db.write(async |unit| unit.exec("UPDATE consumer_offsets SET next_offset = 0", &[]).await).await.unwrap();
            assert_eq!(follower.handled.load(SeqCst), 40, "run {run}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_a_group_share_the_work_and_do_nothing_twice() {
    for database in each_database().await {
        let (db, log) = (open(&database).await, logged(&database).await);
        let (drain, draining) = Drain::new();
        let follower = Follower::default();
        let consumers = [0, 1].map(|_| follow(&db, &log, &follower, draining.clone()));
        tell(&db, &log, &["a", "b", "c"], 30).await;
        for aggregate in ["a", "b", "c"] {
            seen(&db, aggregate, 30).await;
        }
        drain.start();
        join_all(consumers).await;
        assert_eq!(number(&db, "SELECT CAST(COUNT(*) AS BIGINT) FROM dead_letters", &[]).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_fact_parks_its_aggregate_until_it_is_released_and_others_go_on() {
    for panics in [false, true] {
        for database in each_database().await {
            let (db, log) = (open(&database).await, logged(&database).await);
            let follower = Follower::default();
            *follower.refuses.lock().unwrap() = Some(("a".to_owned(), 2));
            follower.panics.store(panics, SeqCst);
            let (drain, draining) = Drain::new();
            let consumer = follow(&db, &log, &follower, draining);
            tell(&db, &log, &["a", "b"], 5).await;
            seen(&db, "b", 5).await;
            seen(&db, "a", 1).await;
            let parked = async || db.read(async |session| dead_letters(session, "probe", 10).await).await.unwrap();
            eventually("four are parked", || async { parked().await.len() == 4 }).await;
            let letters = parked().await;
            assert_eq!(letters[0].state, "POISON");
            assert_eq!(letters[0].event.sequence, 2);
            assert!(letters[1..].iter().all(|letter| letter.state == "WAITING"));
            let backlog = db.backlog().await.unwrap();
            assert_eq!((backlog.outbox, backlog.poison, backlog.waiting), (0, 1, 3));

            *follower.refuses.lock().unwrap() = None;
            let released = db.write(async |unit| release(unit, "probe", "a").await).await.unwrap();
            assert_eq!(released, 1);
            seen(&db, "a", 5).await;
            assert!(parked().await.is_empty());
            assert_eq!(db.backlog().await.unwrap(), Backlog::default());
            tell(&db, &log, &["a"], 1).await;
            seen(&db, "a", 6).await;
            drain.start();
            consumer.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passing_fault_is_tried_again_and_parks_nothing() {
    for database in each_database().await {
        let (db, log) = (open(&database).await, logged(&database).await);
        let follower = Follower::default();
        follower.transient.store(3, SeqCst);
        let (drain, draining) = Drain::new();
        let consumer = follow(&db, &log, &follower, draining);
        tell(&db, &log, &["a"], 4).await;
        seen(&db, "a", 4).await;
        drain.start();
        consumer.await.unwrap();
        assert!(db.read(async |session| dead_letters(session, "probe", 10).await).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_that_comes_too_early_waits_for_the_one_before_it() {
    for database in each_database().await {
        let (db, log) = (open(&database).await, logged(&database).await);
        let told = async |sequence: i64| {
            db.write(async |unit| unit.fact(&Fact { aggregate: "a", sequence, message: &CounterEvent { value: 0 } }))
                .await
                .unwrap();
            relay_all(&db, &log).await;
        };
        let (drain, draining) = Drain::new();
        let follower = Follower::default();
        let consumer = follow(&db, &log, &follower, draining);
        told(2).await;
        told(3).await;
        let waiting = "SELECT CAST(COUNT(*) AS BIGINT) FROM dead_letters WHERE state = 'WAITING'";
        eventually("both wait", || async { number(&db, waiting, &[]).await == 2 }).await;
        assert_eq!(follower.handled.load(SeqCst), 0);
        told(1).await;
        seen(&db, "a", 3).await;
        assert_eq!(number(&db, waiting, &[]).await, 0);
        drain.start();
        consumer.await.unwrap();
    }
}

#[tokio::test]
async fn the_backlog_says_how_many_facts_wait_and_since_when() {
    for database in each_database().await {
        let clock = at(1_000);
        let db = Db::open(database.url(), Options { clock: clock.clone(), ..options() }).await.unwrap();
        assert_eq!(db.backlog().await.unwrap(), Backlog::default());
        db.write(async |unit| count(unit, "b").await).await.unwrap();
        clock.advance(Duration::from_secs(60));
        db.write(async |unit| count(unit, "a").await).await.unwrap();
        let backlog = db.backlog().await.unwrap();
        assert_eq!((backlog.outbox, backlog.oldest), (2, Some(kit::Timestamp::from_seconds(1_000))));
    }
}

/// T-OUTBOX. On SQLite nobody commits beside an open unit, so this is PostgreSQL's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_with_an_early_fact_is_passed_by_and_its_fact_follows() {
    let Some(database) = Database::postgres().await else { return };
    let (db, log) = (open(&database).await, logged(&database).await);
    let (drain, draining) = Drain::new();
    let relay = tokio::spawn(relay::run(db.clone(), log.clone(), draining));
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let (here, told) = tokio::sync::oneshot::channel::<()>();
    let long = tokio::spawn({
        let db = db.clone();
        async move {
            let write = db.write(async |unit| {
                count(unit, "a-early").await?;
                let _ = here.send(());
                let _ = released.await;
                Ok(())
            });
            write.await
        }
    });
    told.await.unwrap();
    for _ in 0..10 {
        for aggregate in ["a", "b", "z"] {
            db.write(async |unit| count(unit, aggregate).await).await.unwrap();
        }
    }
    eventually("the others are in the log", || async { records(&log).await.len() == 30 }).await;
    release.send(()).unwrap();
    long.await.unwrap().unwrap();
    eventually("the early one is in the log", || async { records(&log).await.len() == 31 }).await;
    drain.start();
    relay.await.unwrap();
    let records = records(&log).await;
    assert_in_order(&records);
    assert_eq!(records.last().unwrap().aggregate, "a-early");
}
