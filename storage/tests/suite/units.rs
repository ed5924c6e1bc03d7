//! Units: all or nothing, whoever fails beside them.

use std::time::Duration;

use futures::future::join_all;
use kit::Error;
use storage::{Change, Db, Options, Session, Unit, history, testing::Database, testing::each_database, violated};
use tokio::sync::oneshot;

use crate::fixture::{add, open, options, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_unit_wrote_is_there_when_its_reply_comes() {
    for database in each_database().await {
        let db = open(&database).await;
        let written = tokio::spawn({
            let (db, id) = (db.clone(), String::from("a"));
            async move { db.write(async |unit| add(unit, &id, 2).await).await }
        });
        assert_eq!(written.await.unwrap().unwrap(), 2);
        assert_eq!(value(&db, "a").await, 2);
    }
}

/// One of four kinds of caller, by its number.
async fn caller(db: Db, number: usize) -> Result<i64, Error> {
    let id = format!("counter-{}", number % 3);
    match number % 4 {
        // Goes well.
        0 => db.write(async |unit| add(unit, &id, 1).await).await,
        // Is refused after it has written.
        1 => {
            db.write(async |unit| {
                add(unit, &id, 1_000).await?;
                Err(Error::named("INSUFFICIENT_FUNDS", "no"))
            })
            .await
        }
        // Panics after it has written.
        2 => {
            db.write(async |unit| {
                add(unit, &id, 1_000).await?;
                panic!("a handler with a fault")
            })
            .await
        }
        // Writes and never comes to an end: it is dropped.
        _ => {
            let (sender, vanished) = oneshot::channel();
            let write = db.write(async |unit| {
                let result = add(unit, &id, 1_000).await;
                let _ = sender.send(());
                std::future::pending::<()>().await;
                result
            });
            tokio::select! {
                result = write => result,
                _ = vanished => Err(Error::named("VANISHED", "the caller left")),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_panicking_and_vanished_units_leave_nothing_and_harm_no_neighbour() {
    for database in each_database().await {
        let db = open(&database).await;
        let callers = (0..96).map(|number| tokio::spawn(caller(db.clone(), number)));
        let results = join_all(callers).await;
        for (number, result) in results.into_iter().enumerate() {
            match (number % 4, result) {
                (0, Ok(Ok(value))) => assert!(value <= 8, "{number} saw what was never saved: {value}"),
                (1, Ok(Err(error))) => assert_eq!(error.reason(), "INSUFFICIENT_FUNDS"),
                (2, Err(panic)) => assert!(panic.is_panic()),
                (3, Ok(Err(error))) => assert_eq!(error.reason(), "VANISHED"),
                (_, other) => panic!("{number}: {other:?}"),
            }
        }
        for counter in ["counter-0", "counter-1", "counter-2"] {
            assert_eq!(value(&db, counter).await, 8, "{counter} on {}", database.url());
        }
        assert_eq!(db.stats().units, 25, "24 units and the migrations");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_queue_together_share_a_commit() {
    let database = Database::sqlite();
    let db = open(&database).await;
    let before = db.stats();
    // The writer is held until all others stand in line.
    let (release, released) = oneshot::channel::<()>();
    let first = tokio::spawn({
        let db = db.clone();
        async move {
            db.write(async |unit| {
                let _ = released.await;
                add(unit, "a", 1).await
            })
            .await
        }
    });
    tokio::task::yield_now().await;
    let mut others: Vec<_> = (0..63)
        .map(|_| {
            let db = db.clone();
            Box::pin(async move { db.write(async |unit| add(unit, "a", 1).await).await })
        })
        .collect();
    // Each is polled once: it is in line now.
    for other in &mut others {
        assert!(futures::poll!(other.as_mut()).is_pending());
    }
    release.send(()).unwrap();
    let (first, others) = futures::join!(first, join_all(others));
    first.unwrap().unwrap();
    for result in others {
        result.unwrap();
    }
    let after = db.stats();
    assert_eq!(value(&db, "a").await, 64);
    assert_eq!(after.units - before.units, 64);
    assert!(after.commits - before.commits <= 2, "{} commits", after.commits - before.commits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_group_limit_of_one_each_unit_commits_for_itself() {
    let database = Database::sqlite();
    let db = Db::open(database.url(), Options { group_limit: 1, ..options() }).await.unwrap();
    let before = db.stats();
    for result in join_all((0..40).map(|_| db.write(async |unit| add(unit, "a", 1).await))).await {
        result.unwrap();
    }
    assert_eq!(db.stats().commits - before.commits, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_half_a_unit_and_always_sees_what_was_answered() {
    for database in each_database().await {
        let (db, postgres) = (open(&database).await, database.is_postgres());
        let writers = (0..8).map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                let (mut done, mut refused) = (0, 0);
                while done < 25 {
                    let written = db.write(async |unit| {
                        add(unit, "left", 1).await?;
                        tokio::task::yield_now().await;
                        add(unit, "right", 1).await
                    });
                    match written.await {
                        Ok(_) => done += 1,
                        // On PostgreSQL eight writers want the same two rows: on a busy machine some wait too long.
                        Err(error) => {
                            refused += 1;
                            assert!(postgres && refused <= 25 && error.reason() == "LOCK_CONFLICT", "{error}");
                        }
                    }
                }
            })
        });
        let writers = join_all(writers);
        let reader = tokio::spawn({
            let db = db.clone();
            async move {
                let mut seen = 0;
                while seen < 200 {
                    let (left, right) = both(&db).await;
                    assert_eq!(left, right);
                    assert!(left >= seen);
                    seen = left;
                    tokio::task::yield_now().await;
                }
            }
        });
        for writer in writers.await {
            writer.unwrap();
        }
        assert_eq!(both(&db).await, (200, 200));
        reader.await.unwrap();
    }
}

/// Both counters, read by two statements at one moment.
async fn both(db: &Db) -> (i64, i64) {
    let one = async |session: &mut Session, id: &str| {
        let row = session.row("SELECT value FROM counters WHERE id = $1", &[id.into()]).await?;
        row.map_or(Ok(0), |row| row.int(0))
    };
    db.snapshot(async |session| Ok((one(session, "left").await?, one(session, "right").await?))).await.unwrap()
}

#[tokio::test]
async fn a_unit_that_takes_too_long_is_undone_and_the_next_goes_on() {
    for database in each_database().await {
        let limited = Options { time_limit: Duration::from_millis(200), ..options() };
        let db = Db::open(database.url(), limited).await.unwrap();
        let slow = db
            .write(async |unit| {
                add(unit, "a", 1).await?;
                std::future::pending::<Result<(), Error>>().await
            })
            .await;
        assert_eq!(slow.unwrap_err().reason(), "DEADLINE_EXCEEDED");
        assert_eq!(db.write(async |unit| add(unit, "a", 1).await).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_write_inside_a_unit_is_refused_and_does_not_wait_for_itself() {
    for database in each_database().await {
        let db = open(&database).await;
        let nested = db.write(async |_| db.write(async |unit| add(unit, "a", 1).await).await).await;
        assert_eq!(nested.unwrap_err().reason(), "INTERNAL");
        assert_eq!(db.write(async |unit| add(unit, "a", 1).await).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_constraint_has_a_name_inside_the_unit_and_none_outside() {
    for database in each_database().await {
        let db = open(&database).await;
        let named = db
            .write(async |unit| {
                let error = add(unit, "a", -1).await.unwrap_err();
                assert_eq!(violated(&error), Some("counters_not_negative"));
                Err::<(), _>(Error::named("INSUFFICIENT_FUNDS", "There is not enough."))
            })
            .await;
        assert_eq!(named.unwrap_err().reason(), "INSUFFICIENT_FUNDS");
        let unnamed = db.write(async |unit| add(unit, "a", -1).await).await.unwrap_err();
        assert_eq!(unnamed.reason(), "INTERNAL");
        assert_eq!(violated(&unnamed), None);
    }
}

#[tokio::test]
async fn a_statement_that_failed_condemns_its_unit_even_if_its_error_is_swallowed() {
    for database in each_database().await {
        let db = open(&database).await;
        let swallowed = db
            .write(async |unit| {
                add(unit, "a", 1).await?;
                let _ = add(unit, "b", -1).await;
                assert!(add(unit, "c", 1).await.is_err());
                Ok(())
            })
            .await;
        assert!(swallowed.is_err());
        assert_eq!(value(&db, "a").await, 0);
    }
}

#[tokio::test]
async fn a_taken_number_of_a_history_is_a_conflict() {
    for database in each_database().await {
        let db = open(&database).await;
        let step = async |unit: &mut Unit| {
            let detail = b"detail".to_vec();
            unit.history(&Change { aggregate: "ord_1", sequence: 1, from: "", to: "PENDING", detail });
            Ok(())
        };
        db.write(step).await.unwrap();
        assert_eq!(db.write(step).await.unwrap_err().reason(), "SERIALIZATION_FAILURE");
        let steps = db.read(async |session| history(session, "ord_1", 0, 10).await).await.unwrap();
        assert_eq!(steps.len(), 1);
        assert_eq!((steps[0].to.as_str(), steps[0].detail.as_slice()), ("PENDING", b"detail".as_slice()));
        assert!(db.read(async |session| history(session, "ord_1", 1, 10).await).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_read_writes_nothing() {
    for database in each_database().await {
        let db = open(&database).await;
        let sql = "INSERT INTO counters (id, value) VALUES ('a', 1)";
        assert!(db.read(async |session| session.exec(sql, &[]).await).await.is_err());
        assert!(db.snapshot(async |session| session.exec(sql, &[]).await).await.is_err());
        assert_eq!(value(&db, "a").await, 0);
    }
}

#[tokio::test]
async fn a_read_has_one_statement_and_leaves_its_connection_fit_for_the_next() {
    const ONE: &str = "SELECT 1";
    for database in each_database().await {
        let db = open(&database).await;
        let twice = async |session: &mut Session| {
            session.row(ONE, &[]).await?;
            session.row(ONE, &[]).await
        };
        for _ in 0..3 {
            let refused = db.read(twice).await.unwrap_err();
            assert_eq!(refused.reason(), "INTERNAL", "the second may see another moment");
            assert!(db.snapshot(twice).await.unwrap().is_some());
            assert!(db.read(async |session| session.row(ONE, &[]).await).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn rows_bring_back_every_kind_of_value_and_its_absence() {
    for database in each_database().await {
        let db = open(&database).await;
        let sql = "SELECT CAST($2 AS BIGINT), CAST($1 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), 1";
        let binds = ["text".into(), 7.into(), None::<String>.into(), None::<i64>.into()];
        let row = db.read(async |session| session.row(sql, &binds).await).await.unwrap().unwrap();
        assert_eq!((row.int(0).unwrap(), row.text(1).unwrap().as_str()), (7, "text"));
        assert_eq!((row.optional_text(2).unwrap(), row.optional_int(3).unwrap()), (None, None));
        assert_eq!(row.int(4).unwrap(), 1);
        assert!(row.int(1).is_err() && row.text(2).is_err() && row.text(9).is_err());
    }
}
