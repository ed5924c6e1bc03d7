//! Opening a database: its tables, its version, its durability.

use futures::future::join_all;
use storage::{Db, Log, Migration, Options, testing::each_database};

use crate::fixture::{MIGRATIONS, add, open, options, value};

const NEWER: &[Migration] =
    &[MIGRATIONS[0], Migration { version: 2, name: "names", sql: "ALTER TABLE counters ADD COLUMN name TEXT;" }];
const ALTERED: &[Migration] = &[Migration { sql: "CREATE TABLE counters (id TEXT NOT NULL);", ..MIGRATIONS[0] }];

#[tokio::test]
async fn tables_are_brought_up_to_date_and_data_is_kept() {
    for database in each_database().await {
        let db = open(&database).await;
        db.write(async |unit| add(unit, "a", 3).await).await.unwrap();
        drop(db);
        let db = Db::open(database.url(), Options { migrations: NEWER, ..options() }).await.unwrap();
        db.write(async |unit| unit.exec("UPDATE counters SET name = 'x'", &[]).await).await.unwrap();
        assert_eq!(value(&db, "a").await, 3);
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_or_another_form_is_refused_in_one_sentence() {
    for database in each_database().await {
        drop(Db::open(database.url(), Options { migrations: NEWER, ..options() }).await.unwrap());
        let error = Db::open(database.url(), options()).await.err().unwrap();
        assert_eq!(error.reason(), "DATABASE_UNUSABLE");
        assert!(error.message().contains("newer version"), "{error}");

        let error = Db::open(database.url(), Options { migrations: ALTERED, ..options() }).await.err().unwrap();
        assert_eq!(error.reason(), "DATABASE_UNUSABLE");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_together_make_the_tables_once() {
    for database in each_database().await {
        let opened = join_all((0..4).map(|_| Db::open(database.url(), options()))).await;
        for (index, db) in opened.into_iter().enumerate() {
            let db = db.unwrap();
            assert_eq!(db.write(async |unit| add(unit, "a", 1).await).await.unwrap(), index as i64 + 1);
        }
    }
}

#[tokio::test]
async fn a_url_that_names_no_database_is_refused() {
    for url in ["", "mysql://x", "postgres://nobody@127.0.0.1:1/none", "sqlite:/proc/none/db"] {
        let error = Db::open(url, options()).await.err().unwrap();
        assert_eq!(error.reason(), "DATABASE_UNUSABLE", "{url}");
    }
    assert!(Log::open("kafka://x", kit::Clock::system()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_live_connection_is_durable() {
    for database in each_database().await {
        let db = open(&database).await;
        let log = Log::open(&database.log_url(), kit::Clock::system()).await.unwrap();
        // Several readers and writers at once, so that several connections live.
        let work = (0..8).map(|_| async {
            db.write(async |unit| add(unit, "a", 1).await).await.unwrap();
            db.read(async |session| {
                tokio::task::yield_now().await;
                session.rows("SELECT value FROM counters", &[]).await
            })
            .await
            .unwrap();
        });
        join_all(work).await;
        for settings in [db.durability().await.unwrap(), log.db().durability().await.unwrap()] {
            assert!(!settings.is_empty());
            for setting in settings {
                let durable = match setting.setting {
                    "synchronous" => "2",
                    "journal_mode" => "wal",
                    _ => "on",
                };
                assert_eq!(setting.value, durable, "{setting:?}");
            }
        }
    }
}
