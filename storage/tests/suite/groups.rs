//! Units that share a commit: whoever fails beside them, and whatever they wait for.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use kit::Error;
use storage::{Change, Db, Key, Migration, Options, Unit, testing::Database, testing::each_database};
use tokio::sync::oneshot;

use crate::fixture::{CounterEvent, MIGRATIONS, add, number, options, value};

/// With so few connections PostgreSQL has one writer, so that units which queue together share a commit.
fn one_writer() -> Options {
    Options { pool: 2, ..options() }
}

async fn open(database: &Database, options: Options) -> Db {
    Db::open(database.url(), options).await.unwrap()
}

/// Runs units that stand in line in this order before any of them has its turn. So it is on a runtime of one thread, which
/// runs nothing else meanwhile.
async fn together<T>(units: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    join_all(units).await
}

/// Adds one to a counter.
fn good<'a>(db: &'a Db, id: &'a str) -> BoxFuture<'a, Result<i64, Error>> {
    db.write(async |unit: &mut Unit| add(unit, id, 1).await).boxed()
}

/// Adds to a counter what must never be seen, and then does something else.
fn bad<'a, F>(db: &'a Db, then: impl FnOnce() -> F + Send + 'a) -> BoxFuture<'a, Result<i64, Error>>
where
    F: Future<Output = Result<i64, Error>> + Send + 'a,
{
    let write = db.write(async |unit: &mut Unit| {
        add(unit, "bad", 1_000).await?;
        then().await
    });
    let undisturbed = std::panic::AssertUnwindSafe(write).catch_unwind();
    undisturbed.map(|result| result.unwrap_or_else(|_| Err(Error::named("PANICKED", "it panicked")))).boxed()
}

#[tokio::test]
async fn neighbours_of_refused_panicking_and_vanished_units_are_saved_and_share_commits() {
    for database in each_database().await {
        let db = open(&database, one_writer()).await;
        let before = db.stats();
        let (left, leaves) = oneshot::channel::<()>();
        let vanishes = bad(&db, || async {
            let _ = left.send(());
            std::future::pending().await
        });
        let vanishes = async {
            tokio::select! {
                result = vanishes => result,
                _ = leaves => Err(Error::named("VANISHED", "the caller left")),
            }
        };
        let units = vec![
            good(&db, "b"),
            good(&db, "a"),
            bad(&db, || async { Err(Error::named("INSUFFICIENT_FUNDS", "no")) }),
            good(&db, "a"),
            bad(&db, || async { panic!("a handler with a fault") }),
            good(&db, "a"),
            vanishes.boxed(),
            good(&db, "a"),
        ];
        let results = together(units).await;
        let said: Vec<_> = results.iter().map(|result| result.as_ref().map_err(Error::reason).copied()).collect();
        let refused = [Err("INSUFFICIENT_FUNDS"), Err("PANICKED"), Err("VANISHED")];
        assert_eq!(said, [Ok(1), Ok(1), refused[0], Ok(2), refused[1], Ok(3), refused[2], Ok(4)], "{}", database.url());
        assert_eq!((value(&db, "a").await, value(&db, "b").await, value(&db, "bad").await), (4, 1, 0));
        let after = db.stats();
        // Units are trusted until the first that fails: those before it run again, on PostgreSQL each by itself.
        let commits = if database.is_postgres() { 3 } else { 1 };
        assert_eq!((after.units - before.units, after.commits - before.commits), (5, commits), "{}", database.url());
    }
}

#[tokio::test]
async fn neighbours_of_a_unit_that_takes_too_long_are_saved() {
    for database in each_database().await {
        let limit = Duration::from_millis(300);
        let db = open(&database, Options { time_limit: limit, ..one_writer() }).await;
        let slow = bad(&db, std::future::pending);
        let results = together(vec![good(&db, "a"), slow]).await;
        assert_eq!(*results[0].as_ref().unwrap(), 1);
        assert_eq!(results[1].as_ref().unwrap_err().reason(), "DEADLINE_EXCEEDED");
        assert_eq!(good(&db, "a").await.unwrap(), 2);
        assert_eq!(value(&db, "bad").await, 0);
    }
}

#[tokio::test]
async fn a_commit_that_fails_fails_its_whole_group_and_tells_every_caller() {
    const LATE: &[Migration] = &[
        MIGRATIONS[0],
        Migration {
            version: 2,
            name: "children",
            sql: "CREATE TABLE children (
                      id TEXT NOT NULL PRIMARY KEY,
                      parent TEXT NOT NULL REFERENCES counters (id) DEFERRABLE INITIALLY DEFERRED
                  );",
        },
    ];
    for database in each_database().await {
        let db = open(&database, Options { migrations: LATE, ..one_writer() }).await;
        let before = db.stats();
        // Nobody objects before the commit.
        let orphan = async |unit: &mut Unit| {
            let sql = "INSERT INTO children (id, parent) VALUES ('orphan', 'nobody')";
            unit.exec(sql, &[]).await.map(|_| 0)
        };
        let units = vec![good(&db, "a"), db.write(orphan).boxed(), good(&db, "a")];
        for result in together(units).await {
            assert!(result.is_err(), "{result:?} on {}", database.url());
        }
        assert_eq!(value(&db, "a").await, 0);
        assert_eq!(db.stats().units, before.units);
        assert_eq!(good(&db, "a").await.unwrap(), 1);
    }
}

fn key(request_id: &str) -> Option<Key> {
    Key::new("user:usr_1", "/probe.Counters/Add", request_id, &CounterEvent { value: 1 })
}

#[tokio::test]
async fn the_same_request_twice_in_a_group_has_one_effect_and_one_answer() {
    for database in each_database().await {
        let db = open(&database, one_writer()).await;
        let once = |reason: Option<&'static str>| {
            let work = async move |unit: &mut Unit| {
                let value = add(unit, "a", 1).await?;
                reason.map_or(Ok(CounterEvent { value }), |reason| Err(Error::named(reason, "No.")))
            };
            let db = &db;
            async move { db.once(key("r1"), work).await }.boxed()
        };
        // The first is undone for a fault that passes, so the second is the one that counts.
        let results = together(vec![once(Some("OVERLOADED")), once(None), once(None)]).await;
        assert_eq!(results[0].as_ref().unwrap_err().reason(), "OVERLOADED");
        for repeat in &results[1..] {
            assert_eq!(repeat.as_ref().unwrap().value, 1);
        }
        assert_eq!(value(&db, "a").await, 1);
    }
}

/// T-DEADLOCK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_lock_rows_in_opposite_order_end_well_or_are_told_to_repeat() {
    for database in each_database().await {
        for group_limit in [1, 256] {
            let db = open(&database, Options { group_limit, ..options() }).await;
            let before = (value(&db, "left").await, value(&db, "right").await);
            let callers = (0..12).map(|caller| {
                let db = db.clone();
                tokio::spawn(async move {
                    let mut saved = 0;
                    for _ in 0..4 {
                        let order = if caller % 2 == 0 { ["left", "right"] } else { ["right", "left"] };
                        let both = async |unit: &mut Unit| {
                            add(unit, order[0], 1).await?;
                            tokio::task::yield_now().await;
                            add(unit, order[1], 1).await
                        };
                        match db.write(both).await {
                            Ok(_) => saved += 1,
                            Err(error) => {
                                assert!(
                                    ["LOCK_CONFLICT", "SERIALIZATION_FAILURE"].contains(&error.reason()),
                                    "{error}"
                                );
                                assert!(error.retryable());
                            }
                        }
                    }
                    saved
                })
            });
            let all = tokio::time::timeout(Duration::from_secs(120), join_all(callers)).await;
            let saved: i64 = all.expect("a unit hangs").into_iter().map(Result::unwrap).sum();
            assert!(saved > 0);
            let after = (value(&db, "left").await, value(&db, "right").await);
            assert_eq!(after, (before.0 + saved, before.1 + saved), "{}", database.url());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_lock_rows_in_order_hardly_ever_fail_though_they_share_transactions() {
    for database in each_database().await {
        let db = open(&database, options()).await;
        let callers = (0..32).map(|caller| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut repeats = 0;
                for turn in 0..8 {
                    let skipped = (caller + turn) % 3;
                    let two = async |unit: &mut Unit| {
                        for (index, id) in ["a", "b", "c"].into_iter().enumerate() {
                            if index != skipped {
                                add(unit, id, 1).await?;
                            }
                        }
                        Ok(())
                    };
                    while let Err(error) = db.write(two).await {
                        assert!(error.retryable(), "{error}");
                        repeats += 1;
                    }
                }
                repeats
            })
        });
        let repeats: i32 = join_all(callers).await.into_iter().map(Result::unwrap).sum();
        assert!(repeats <= 25, "{repeats} of 256 units failed on {}", database.url());
        let sum = value(&db, "a").await + value(&db, "b").await + value(&db, "c").await;
        assert_eq!(sum, 2 * 32 * 8);
    }
}

#[tokio::test]
async fn a_unit_that_is_refused_before_it_wrote_does_not_part_a_trusting_group() {
    for database in each_database().await {
        let db = open(&database, one_writer()).await;
        let before = db.stats();
        let refused = db.write(async |unit: &mut Unit| {
            unit.row("SELECT value FROM counters WHERE id = $1", &["a".into()]).await?;
            Err::<i64, _>(Error::named("INSUFFICIENT_FUNDS", "no"))
        });
        let results = together(vec![good(&db, "a"), refused.boxed(), good(&db, "a")]).await;
        let said: Vec<_> = results.iter().map(|result| result.as_ref().map_err(Error::reason).copied()).collect();
        assert_eq!(said, [Ok(1), Err("INSUFFICIENT_FUNDS"), Ok(2)]);
        assert_eq!(db.stats().commits - before.commits, 1, "{}", database.url());
    }
}

#[tokio::test]
async fn a_unit_whose_answers_have_changed_when_its_group_is_taken_apart_is_told_to_repeat() {
    let Some(database) = Database::postgres().await else { return };
    let (db, other) = (open(&database, one_writer()).await, open(&database, one_writer()).await);
    let saw = db.write(async |unit: &mut Unit| {
        let sql = "SELECT CAST(COUNT(*) AS BIGINT) FROM counters WHERE id = $1";
        let seen = unit.row(sql, &["seen".into()]).await?.map_or(Ok(-1), |row| row.int(0))?;
        add(unit, "a", 1).await?;
        Ok(seen)
    });
    let fails = db.write(async |unit: &mut Unit| {
        add(unit, "bad", 1).await?;
        tokio::spawn(async move { good(&other, "seen").await }).await.unwrap()?;
        Err::<i64, _>(Error::named("INSUFFICIENT_FUNDS", "no"))
    });
    let results = together(vec![good(&db, "b"), saw.boxed(), fails.boxed()]).await;
    let said: Vec<_> = results.iter().map(|result| result.as_ref().map_err(Error::reason).copied()).collect();
    assert_eq!(said, [Ok(1), Err("SERIALIZATION_FAILURE"), Err("INSUFFICIENT_FUNDS")]);
    assert_eq!((value(&db, "a").await, value(&db, "b").await, value(&db, "bad").await), (0, 1, 0));
}

#[tokio::test]
async fn a_group_whose_buffered_rows_are_refused_together_is_saved_but_for_the_culprit() {
    for database in each_database().await {
        let db = open(&database, one_writer()).await;
        let step = |aggregate: &'static str| {
            let write = db.write(async move |unit: &mut Unit| {
                unit.history(&Change { aggregate, sequence: 1, from: "", to: "DONE", detail: Vec::new() });
                add(unit, aggregate, 1).await
            });
            write.boxed()
        };
        let results = together(vec![step("a"), step("b"), step("a"), step("c")]).await;
        let said: Vec<_> = results.iter().map(|result| result.as_ref().map_err(Error::reason).copied()).collect();
        assert_eq!(said, [Ok(1), Ok(1), Err("SERIALIZATION_FAILURE"), Ok(1)], "{}", database.url());
        assert_eq!(value(&db, "a").await, 1);
        let steps = number(&db, "SELECT CAST(COUNT(*) AS BIGINT) FROM history", &[]).await;
        assert_eq!(steps, 3, "{}", database.url());
    }
}

/// A second process on the same database, in a unit that holds the counter `held` and adds `amount` to it at its end.
async fn hold(database: &Database, amount: i64) -> (oneshot::Sender<()>, tokio::task::JoinHandle<i64>) {
    let other = open(database, one_writer()).await;
    let (release, released) = oneshot::channel::<()>();
    let (here, holds) = oneshot::channel::<()>();
    let holder = tokio::spawn(async move {
        let write = other.write(async |unit| {
            add(unit, "held", 0).await?;
            let _ = here.send(());
            let _ = released.await;
            add(unit, "held", amount).await
        });
        write.await.unwrap()
    });
    holds.await.unwrap();
    (release, holder)
}

/// Polls until a statement waits for a lock.
async fn somebody_waits(db: &Db) {
    let waiting = "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_locks WHERE NOT granted AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database()) OR NOT granted AND database IS NULL";
    let deadline = Instant::now() + Duration::from_secs(30);
    while number(db, waiting, &[]).await == 0 {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_unit_that_must_wait_lets_its_group_commit_and_goes_on_alone() {
    let Some(database) = Database::postgres().await else { return };
    let db = open(&database, one_writer()).await;
    good(&db, "held").await.unwrap();
    let (release, holder) = hold(&database, 5).await;
    let waits = async {
        let write = db.write(async |unit: &mut Unit| {
            add(unit, "a", 10).await?;
            add(unit, "held", 100).await
        });
        write.await
    };
    let neighbour = async {
        let added = good(&db, "a").await;
        // Answered although the unit behind it has yet to get its lock, and the holder to let go of it.
        release.send(()).unwrap();
        added
    };
    let results = together(vec![neighbour.boxed(), waits.boxed()]).await;
    assert_eq!(*results[0].as_ref().unwrap(), 1);
    assert_eq!((*results[1].as_ref().unwrap(), holder.await.unwrap()), (106, 6));
    assert_eq!((value(&db, "a").await, value(&db, "held").await), (11, 106));
}

#[tokio::test]
async fn a_unit_that_waited_is_told_to_repeat_if_what_it_saw_has_changed() {
    let Some(database) = Database::postgres().await else { return };
    let (db, other) = (open(&database, one_writer()).await, open(&database, one_writer()).await);
    let (release, holder) = hold(&database, 5).await;
    let waits = db.write(async |unit: &mut Unit| {
        let sql = "SELECT CAST(COUNT(*) AS BIGINT) FROM counters WHERE id = $1";
        let seen = unit.row(sql, &["seen".into()]).await?.map_or(Ok(-1), |row| row.int(0))?;
        assert_eq!(seen, 0);
        tokio::spawn(async move { good(&other, "seen").await }).await.unwrap()?;
        add(unit, "held", 100).await
    });
    let results = together(vec![good(&db, "a"), waits.boxed()]).await;
    assert_eq!(*results[0].as_ref().unwrap(), 1);
    let told = results[1].as_ref().unwrap_err();
    assert_eq!((told.reason(), told.retryable()), ("SERIALIZATION_FAILURE", true));
    release.send(()).unwrap();
    assert_eq!(holder.await.unwrap(), 5);
    assert_eq!(value(&db, "held").await, 5);
}

#[tokio::test]
async fn a_unit_that_cannot_be_repeated_saves_nothing_even_if_it_goes_on() {
    let Some(database) = Database::postgres().await else { return };
    let (db, other) = (open(&database, one_writer()).await, open(&database, one_writer()).await);
    let (release, holder) = hold(&database, 5).await;
    let goes_on = db.write(async |unit: &mut Unit| {
        let look = async |unit: &mut Unit| {
            add(unit, "first", 1).await?;
            let sql = "SELECT CAST(COUNT(*) AS BIGINT) FROM counters WHERE id = $1";
            unit.row(sql, &["seen".into()]).await?.map_or(Ok(-1), |row| row.int(0))
        };
        assert_eq!(unit.attempt(look).await?, 0);
        tokio::spawn(async move { good(&other, "seen").await }).await.unwrap()?;
        // What the first attempt saw has changed, so the unit is not what it was; that this attempt fails is forgiven.
        assert!(unit.attempt(async |unit: &mut Unit| add(unit, "held", 100).await).await.is_err());
        add(unit, "after", 1).await
    });
    let results = together(vec![good(&db, "a"), goes_on.boxed()]).await;
    assert_eq!(*results[0].as_ref().unwrap(), 1);
    assert_eq!(results[1].as_ref().unwrap_err().reason(), "SERIALIZATION_FAILURE");
    release.send(()).unwrap();
    assert_eq!(holder.await.unwrap(), 5);
    assert_eq!((value(&db, "first").await, value(&db, "after").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_others_keep_is_a_conflict_and_a_caller_who_leaves_meanwhile_harms_nobody() {
    let Some(database) = Database::postgres().await else { return };
    let db = open(&database, one_writer()).await;
    let (release, holder) = hold(&database, 1).await;
    assert_eq!(good(&db, "held").await.unwrap_err().reason(), "LOCK_CONFLICT");
    let leaves = tokio::spawn({
        let db = db.clone();
        async move { good(&db, "held").await }
    });
    somebody_waits(&db).await;
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    assert_eq!(good(&db, "a").await.unwrap(), 1);
    release.send(()).unwrap();
    assert_eq!(holder.await.unwrap(), 1);
    assert_eq!(value(&db, "held").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_waits_for_writers_who_are_held_up_is_served_by_the_reserve() {
    let Some(database) = Database::postgres().await else { return };
    // Five writers, four of them always at work.
    let db = open(&database, Options { pool: 10, ..options() }).await;
    let holders = ["a", "b", "d", "e"].map(|id| {
        let (release, released) = oneshot::channel::<()>();
        let (here, holds) = oneshot::channel::<()>();
        let db = db.clone();
        let holder = tokio::spawn(async move {
            let write = db.write(async |unit| {
                let value = add(unit, id, 1).await;
                let _ = here.send(());
                let _ = released.await;
                value
            });
            write.await
        });
        (release, holds, holder)
    });
    let mut held = Vec::new();
    for (release, holds, holder) in holders {
        holds.await.unwrap();
        held.push((release, holder));
    }
    assert_eq!(good(&db, "c").await.unwrap(), 1);
    for (release, holder) in held {
        release.send(()).unwrap();
        assert_eq!(holder.await.unwrap().unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_nobody_waited_for_condemns_its_unit() {
    let Some(database) = Database::postgres().await else { return };
    let db = open(&database, one_writer()).await;
    let (release, holder) = hold(&database, 1).await;
    let hasty = db.write(async |unit: &mut Unit| {
        add(unit, "a", 1).await?;
        assert!(futures::poll!(std::pin::pin!(add(unit, "held", 1))).is_pending());
        Ok(())
    });
    assert_eq!(hasty.await.unwrap_err().reason(), "INTERNAL");
    release.send(()).unwrap();
    holder.await.unwrap();
    assert_eq!((value(&db, "a").await, value(&db, "held").await), (0, 1));
}

#[tokio::test]
async fn a_poison_unit_that_takes_its_connection_down_stops_nobody_for_long() {
    let Some(database) = Database::postgres().await else { return };
    let db = open(&database, one_writer()).await;
    for _ in 0..5 {
        let poison = db.write(async |unit: &mut Unit| {
            unit.row("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await?;
            Ok(0)
        });
        let known = value(&db, "a").await;
        let results = together(vec![good(&db, "a"), poison.boxed(), good(&db, "a")]).await;
        let told: Vec<_> = results.iter().map(|result| result.as_ref().map_err(Error::reason)).collect();
        // The one before it shared its transaction, and learns that it is lost; the one after it has a new connection.
        let gone = Err("DEPENDENCY_UNAVAILABLE");
        assert_eq!(told, [gone, gone, Ok(&(known + 1))]);
        assert_eq!(value(&db, "a").await, known + 1);
    }
}
