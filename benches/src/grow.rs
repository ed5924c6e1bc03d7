//! Does the millionth order cost more than the first? Real orders are made, then everything about them is copied in the
//! databases under other ids, as far back in time as there are copies.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;

use crate::{
    load::measure,
    target::{Base, Shop, Target},
    work::Work,
};

/// The databases that grow with orders.
const DATABASES: [&str; 4] = ["order", "inventory", "payment", "ledger"];
/// Ids that are shared by the copies: what there is little of, however many orders there are.
const SHARED: [&str; 7] = ["var_", "prd_", "loc_", "stk_", "pmt_", "adr_", "ses_"];
/// The digits of a TypeID (its spec: Crockford's base32).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Measures purchases with each number of orders, on a platform of its own.
pub async fn run(sizes: &[u64], in_flight: &[usize], seconds: u64, shop: Shop) -> Result<()> {
    let in_flight = *in_flight.last().context("a number in flight")?;
    for &size in sizes {
        let mut target = Target::start(Base::Sqlite, true, 256, shop).await?;
        // Something to copy.
        measure(&mut target, Work::Purchase, in_flight, seconds).await?;
        target.restart(|folder| grow(folder, size)).await?;
        let orders = count(target.folder.path())?;
        let figures = measure(&mut target, Work::Purchase, in_flight, seconds).await?;
        println!("purchase  sqlite    direct      256  {in_flight:>9}  {figures}  at {orders} orders");
    }
    Ok(())
}

fn count(folder: &Path) -> Result<u64> {
    let database = Connection::open(folder.join("order.db"))?;
    let count: i64 = database.query_row("SELECT COUNT(*) FROM orders", [], |row| row.get(0))?;
    Ok(u64::try_from(count)?)
}

/// Copies what is there until there are at least `size` orders.
fn grow(folder: &Path, size: u64) -> Result<()> {
    let there = count(folder)?;
    ensure!(there > 0, "there is no order to copy");
    let copies = size.saturating_sub(there).div_ceil(there);
    for name in DATABASES {
        let database = Connection::open(folder.join(format!("{name}.db")))?;
        database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000")?;
        database.create_scalar_function(
            "elsewhere",
            2,
            rusqlite::functions::FunctionFlags::SQLITE_DETERMINISTIC,
            |context| Ok(elsewhere(&context.get::<String>(0)?, context.get::<u32>(1)?)),
        )?;
        let mut tables = database.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'simulator%'
                AND name NOT IN ('migrations', 'outbox', 'leases', 'stock_items', 'locations')",
        )?;
        let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for table in tables {
            copy(&database, &table, copies)?;
        }
        database.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE); ANALYZE")?;
    }
    Ok(())
}

fn copy(database: &Connection, table: &str, copies: u64) -> Result<()> {
    let mut columns = database.prepare(&format!("SELECT name, type FROM pragma_table_info('{table}')"))?;
    let columns: Vec<(String, String)> =
        columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    // What has no ids, such as a counter, is one for all.
    if columns.iter().all(|(_, kind)| kind != "TEXT") {
        return Ok(());
    }
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let values: Vec<String> = columns
        .iter()
        .map(|(name, kind)| match kind.as_str() {
            "TEXT" => format!("CASE WHEN {name} IS NULL THEN NULL ELSE elsewhere({name}, $1) END"),
            _ => name.clone(),
        })
        .collect();
    database.execute_batch(&format!("BEGIN; CREATE TEMP TABLE one AS SELECT * FROM {table}"))?;
    let insert = format!("INSERT OR IGNORE INTO {table} ({}) SELECT {} FROM one", names.join(", "), values.join(", "));
    let mut insert = database.prepare(&insert)?;
    for number in 1..=copies {
        insert.execute([u32::try_from(number)?])?;
    }
    drop(insert);
    database.execute_batch("DROP TABLE temp.one; COMMIT")?;
    Ok(())
}

/// The text with every TypeID in it moved to another time: the same for the same copy, so that what belongs together
/// still does. Ids that copies share stay as they are.
fn elsewhere(text: &str, copy: u32) -> String {
    let bytes = text.as_bytes();
    let mut moved = bytes.to_vec();
    for (at, _) in text.match_indices('_') {
        let (start, end) = (at + 1, at + 27);
        let id = bytes.get(start..end);
        let shared = at >= 3 && SHARED.contains(&text.get(at - 3..start).unwrap_or_default());
        if shared || !id.is_some_and(|id| id.iter().all(|digit| DIGITS.contains(digit))) {
            continue;
        }
        // The first digits are the time, in milliseconds; thirty bits of it are replaced.
        for (place, digit) in moved[start + 1..start + 7].iter_mut().rev().enumerate() {
            *digit = DIGITS[(copy >> (5 * place) & 31) as usize];
        }
    }
    String::from_utf8(moved).unwrap_or_else(|_| text.to_owned())
}
