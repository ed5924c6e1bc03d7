//! Killed at the worst moments and started again: what was answered is there, and nothing is there twice.

use std::process::{Command, Stdio};

use kit::{Clock, Error, drain::Drain};
use storage::{
    Db, Event, Key, Log, Unit,
    consumer::{self, Consumer, Handler},
    relay,
    testing::{Database, each_database},
};

use crate::fixture::{CounterEvent, TOPIC, add, count, open, options, value};

/// Runs the child below with a failpoint armed, and says whether it was killed there.
fn run_child(database: &Database, failpoint: &str) -> bool {
    use std::os::unix::process::ExitStatusExt;

    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env("STORAGE_TEST_URL", database.url())
        .env("AGORA_FAILPOINT", format!("{failpoint}=kill"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.signal() == Some(9)
}

/// One request, its way into the log, and what follows from it. Returns when all of it is done.
async fn whole_way(db: &Db, log: &Log) {
    let key = Key::new("user:usr_1", "/probe.Counters/Count", "r1", &CounterEvent { value: 1 });
    let reply = db.once(key, async |unit| Ok(CounterEvent { value: count(unit, "a").await? })).await.unwrap();
    assert_eq!(reply.value, 1);
    let (drain, draining) = Drain::new();
    let consumer = Consumer { group: "probe", topics: &[TOPIC], db: db.clone(), log: log.clone() };
    let tasks = [
        tokio::spawn(relay::run(db.clone(), log.clone(), draining.clone())),
        tokio::spawn(consumer::run(consumer, Seen, draining)),
    ];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while value(db, "seen").await == 0 {
        assert!(std::time::Instant::now() < deadline, "the fact never arrived");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    drain.start();
    for task in tasks {
        task.await.unwrap();
    }
}

struct Seen;

impl Handler for Seen {
    async fn handle(&self, unit: &mut Unit, _event: &Event) -> Result<(), Error> {
        add(unit, "seen", 1).await.map(|_| ())
    }
}

#[test]
#[ignore = "the child of the test below"]
fn child() {
    let Ok(url) = std::env::var("STORAGE_TEST_URL") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Db::open(&url, options()).await.unwrap();
        let log = Log::open(&format!("sql:{url}"), Clock::system()).await.unwrap();
        whole_way(&db, &log).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_point_loses_nothing_and_repeats_nothing() {
    for point in ["before-commit", "after-commit", "relay-after-append", "consumer-before-commit"] {
        for database in each_database().await {
            // The tables are there already, so that the first commit is the request's.
            let db = open(&database).await;
            let log = Log::open(&database.log_url(), Clock::system()).await.unwrap();
            assert!(run_child(&database, point), "{point} was not reached on {}", database.url());
            whole_way(&db, &log).await;
            assert_eq!((value(&db, "a").await, value(&db, "seen").await), (1, 1), "{point}");
            assert_eq!(log.read(TOPIC, 0, 10).await.unwrap().len(), 1, "{point}");
        }
    }
}
