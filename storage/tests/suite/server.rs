//! PostgreSQL dies and comes back under a running process: what was answered is there, nothing is there twice, and the
//! process needs no help.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use kit::Error;
use storage::{Db, Key, Migration, Options, Unit, testing::Server};

use crate::fixture::{CounterEvent, MIGRATIONS, add, number, options, value};

/// Adds one to a counter under a key of its own, as often as it takes to hear that it was done.
async fn add_once(db: &Db, id: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let key = Key::new("user:usr_1", "/probe.Counters/Add", id, &CounterEvent { value: 1 });
        let added = db.once(key, async |unit: &mut Unit| Ok(CounterEvent { value: add(unit, id, 1).await? })).await;
        match added {
            Ok(reply) => return assert_eq!(reply.value, 1, "{id} was added twice"),
            Err(error) => {
                assert!(error.retryable(), "{error}");
                assert!(Instant::now() < deadline, "the database never came back: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_nothing_that_was_answered_and_repeats_nothing() {
    let Some(server) = Server::start() else { return };
    let database = server.database().await;
    let db = Db::open(database.url(), options()).await.unwrap();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let callers = (0..16).map(|caller| {
        let (db, stop, answered) = (db.clone(), stop.clone(), answered.clone());
        tokio::spawn(async move {
            for turn in 0.. {
                let id = format!("counter-{caller}-{turn}");
                add_once(&db, &id).await;
                answered.lock().unwrap().push(id);
                if stop.load(SeqCst) {
                    break;
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let killer = tokio::task::spawn_blocking({
        let answered = answered.clone();
        move || {
            for _ in 0..3 {
                // In the midst of it: something was answered since the last time.
                let known = answered.lock().unwrap().len();
                while answered.lock().unwrap().len() < known + 100 {
                    std::thread::yield_now();
                }
                server.kill_and_start_again();
            }
            server
        }
    });
    let _server = killer.await.unwrap();
    stop.store(true, SeqCst);
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let answered = answered.lock().unwrap().clone();
    let sum = "SELECT CAST(COALESCE(SUM(value), 0) AS BIGINT) FROM counters";
    let rows = "SELECT CAST(COUNT(*) AS BIGINT) FROM counters WHERE value = 1";
    assert_eq!(number(&db, rows, &[]).await, answered.len() as i64);
    assert_eq!(number(&db, sum, &[]).await, answered.len() as i64);
}

/// A commit that takes its time, so that it can be met.
const SLOW_COMMIT: &[Migration] = &[
    MIGRATIONS[0],
    Migration {
        version: 2,
        name: "a commit that waits",
        sql: "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                  'BEGIN IF NEW.id = ''slow'' THEN PERFORM pg_sleep(2); END IF; RETURN NULL; END';
              CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON counters DEFERRABLE INITIALLY DEFERRED
                  FOR EACH ROW EXECUTE FUNCTION wait();",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_during_a_commit_leaves_the_unit_undone_and_its_caller_told() {
    let Some(server) = Server::start() else { return };
    let database = server.database().await;
    let db = Db::open(database.url(), Options { migrations: SLOW_COMMIT, ..options() }).await.unwrap();
    let write = tokio::spawn({
        let db = db.clone();
        async move { db.write(async |unit: &mut Unit| add(unit, "slow", 1).await).await }
    });
    let committing =
        "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while number(&db, committing, &[]).await == 0 {
        assert!(Instant::now() < deadline && !write.is_finished(), "the commit was never met");
    }
    server.kill_and_start_again();
    let told: Result<i64, Error> = write.await.unwrap();
    assert_eq!(told.unwrap_err().reason(), "DEPENDENCY_UNAVAILABLE");
    // The first reader may still hold a connection of the dead server; it is replaced without a word.
    assert_eq!(value(&db, "slow").await, 0);
    add_once(&db, "a").await;
    assert_eq!(value(&db, "a").await, 1);
}
