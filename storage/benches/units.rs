//! Units per second with and without a shared commit. The two run in turn, and the median counts: the ratio is what to look
//! at, since absolute speed moves with whatever else the machine and its disk do. `-- postgres` runs one database only.

use std::time::{Duration, Instant};

use kit::{Clock, Error};
use storage::{Change, Db, Migration, Options, Unit, testing::Database};

const RUN: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;

const ACCOUNTS: usize = 100_000;
/// Callers, on how many accounts: many, or a few that everybody wants.
const LOADS: [(usize, usize); 8] =
    [(1, ACCOUNTS), (8, ACCOUNTS), (64, ACCOUNTS), (256, ACCOUNTS), (64, 1_000), (64, 100), (64, 16), (64, 1)];

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "accounts",
    sql: "CREATE TABLE accounts (id TEXT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL);
          CREATE TABLE entries (id TEXT NOT NULL PRIMARY KEY, account TEXT NOT NULL, amount BIGINT NOT NULL);",
}];

/// SELECT, UPDATE, INSERT and a buffered row, as a small command has them.
async fn unit(unit: &mut Unit, account: &str, entry: &str) -> Result<(), Error> {
    let select = "SELECT balance FROM accounts WHERE id = $1";
    let balance = unit.row_for_update(select, &[account.into()]).await?.map_or(Ok(0), |row| row.int(0))?;
    let update = "UPDATE accounts SET balance = $2 WHERE id = $1";
    unit.exec(update, &[account.into(), (balance + 1).into()]).await?;
    let insert = "INSERT INTO entries (id, account, amount) VALUES ($1, $2, 1)";
    unit.exec(insert, &[entry.into(), account.into()]).await?;
    unit.history(&Change { aggregate: entry, sequence: 1, from: "", to: "DONE", detail: vec![7; 200] });
    Ok(())
}

/// Units per second, and how many were refused.
async fn measure(db: &Db, callers: usize, accounts: usize) -> (f64, u64) {
    let end = Instant::now() + RUN;
    let before = db.stats();
    let started = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let db = db.clone();
        tokio::spawn(async move {
            let (mut turn, mut refused) = (caller * 1_009, 0);
            while Instant::now() < end {
                let account = format!("account-{}", turn % accounts);
                turn += 7;
                let entry = kit::id::new("ent", kit::Timestamp::from_micros(0));
                if db.write(async |writer| unit(writer, &account, &entry).await).await.is_err() {
                    refused += 1;
                }
            }
            refused
        })
    });
    let refused = futures::future::join_all(tasks).await.into_iter().map(|task| task.unwrap_or_default()).sum();
    ((db.stats().units - before.units) as f64 / started.elapsed().as_secs_f64(), refused)
}

async fn open(database: &Database, group_limit: usize) -> Db {
    const FILL: &str = "WITH RECURSIVE numbers (number) AS
            (SELECT CAST(0 AS BIGINT) UNION ALL SELECT number + 1 FROM numbers WHERE number + 1 < $1)
        INSERT INTO accounts (id, balance) SELECT 'account-' || CAST(number AS TEXT), 0 FROM numbers";

    let options = Options { group_limit, migrations: MIGRATIONS, ..Options::new("bench", Clock::system()) };
    let opened = async {
        let db = Db::open(database.url(), options).await?;
        db.write(async |unit| unit.exec(FILL, &[(ACCOUNTS as i64).into()]).await).await?;
        Ok(db)
    };
    opened.await.unwrap_or_else(|error: Error| panic!("{error}"))
}

async fn compare(name: &str, alone: &Database, grouped: &Database) {
    let (alone, grouped) = (open(alone, 1).await, open(grouped, 256).await);
    for (callers, accounts) in LOADS {
        let before = grouped.stats();
        let (mut one, mut many, mut refused) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            for (db, rates) in [(&alone, &mut one), (&grouped, &mut many)] {
                let (rate, also_refused) = measure(db, callers, accounts).await;
                rates.push(rate);
                refused += also_refused;
            }
        }
        let stats = grouped.stats();
        let share = (stats.units - before.units) as f64 / (stats.commits - before.commits) as f64;
        let (one, many) = (median(one), median(many));
        println!(
            "{name:<10} {callers:>8} {accounts:>9} {one:>9.0} {many:>10.0} {:>6.2} {share:>15.1} {refused:>8}",
            many / one
        );
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("database    callers  accounts   alone/s  grouped/s  ratio  units a commit  refused");
    if only != "postgres" {
        compare("sqlite", &Database::sqlite(), &Database::sqlite()).await;
    }
    if only == "sqlite" {
        return;
    }
    if let (Some(alone), Some(grouped)) = (Database::postgres().await, Database::postgres().await) {
        compare("postgres", &alone, &grouped).await;
    }
}
