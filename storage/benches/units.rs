//! Units per second with and without a shared commit, in one run. Prints a table; the ratio is what counts, since the
//! disk's own speed moves with whatever else the machine does.

use std::time::{Duration, Instant};

use kit::{Clock, Error};
use storage::{Change, Db, Migration, Options, Unit, testing::Database};

const RUN: Duration = Duration::from_secs(3);

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "accounts",
    sql: "CREATE TABLE accounts (id TEXT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL);
          CREATE TABLE entries (id TEXT NOT NULL PRIMARY KEY, account TEXT NOT NULL, amount BIGINT NOT NULL);",
}];

/// SELECT, UPDATE, INSERT and a buffered row, as a small command has them.
async fn unit(unit: &mut Unit, account: &str, entry: &str) -> Result<(), Error> {
    let select = "SELECT balance FROM accounts WHERE id = $1";
    let balance = unit.row(select, &[account.into()]).await?.map_or(Ok(0), |row| row.int(0))?;
    let update = "INSERT INTO accounts (id, balance) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET balance = $2";
    unit.exec(update, &[account.into(), (balance + 1).into()]).await?;
    let insert = "INSERT INTO entries (id, account, amount) VALUES ($1, $2, 1)";
    unit.exec(insert, &[entry.into(), account.into()]).await?;
    unit.history(&Change { aggregate: entry, sequence: 1, from: "", to: "DONE", detail: vec![7; 200] });
    Ok(())
}

async fn measure(db: &Db, callers: usize) -> f64 {
    let end = Instant::now() + RUN;
    let before = db.stats();
    let started = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let db = db.clone();
        tokio::spawn(async move {
            let account = format!("account-{caller}");
            while Instant::now() < end {
                let entry = kit::id::new("ent", kit::Timestamp::from_micros(0));
                if let Err(error) = db.write(async |writer| unit(writer, &account, &entry).await).await {
                    eprintln!("{error}");
                }
            }
        })
    });
    futures::future::join_all(tasks).await;
    (db.stats().units - before.units) as f64 / started.elapsed().as_secs_f64()
}

async fn open(database: &Database, group_limit: usize) -> Db {
    let options = Options { group_limit, migrations: MIGRATIONS, ..Options::new("bench", Clock::system()) };
    match Db::open(database.url(), options).await {
        Ok(db) => db,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (alone, shared) = (Database::sqlite(), Database::sqlite());
    let (alone, shared) = (open(&alone, 1).await, open(&shared, 256).await);
    println!("{:<10} {:>8} {:>14} {:>14} {:>7}", "database", "callers", "alone/s", "grouped/s", "ratio");
    for callers in [1, 8, 64] {
        let (one, many) = (measure(&alone, callers).await, measure(&shared, callers).await);
        println!("{:<10} {callers:>8} {one:>14.0} {many:>14.0} {:>7.2}", "sqlite", many / one);
    }
    let stats = shared.stats();
    println!("sqlite: {:.1} units a commit when grouped", stats.units as f64 / stats.commits as f64);
    let Some(database) = Database::postgres().await else { return };
    let db = open(&database, 1).await;
    for callers in [1, 8, 64] {
        println!("{:<10} {callers:>8} {:>14.0}", "postgres", measure(&db, callers).await);
    }
}
