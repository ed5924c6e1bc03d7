//! What the contexts have told, compared with what is in their own tables: every fact is in the log, in its order, once.

use std::collections::BTreeMap;

use agora::services;
use anyhow::{Context, Result};
use kit::Clock;
use storage::{Db, Log, Options, Session};

use crate::platform::{Platform, eventually};

/// Every table whose rows count the facts that were told of them: the topic, the service, and its ids with their counts.
const COUNTED: &[(&str, &str, &str)] = &[
    ("order-events", "order", "SELECT id, facts FROM orders ORDER BY id LIMIT 100000"),
    ("payment-events", "payment", "SELECT id, facts FROM payments ORDER BY id LIMIT 100000"),
    ("inventory-events", "inventory", "SELECT id, facts FROM reservations ORDER BY id LIMIT 100000"),
    ("inventory-events", "inventory", "SELECT id, facts FROM stock_items ORDER BY id LIMIT 100000"),
];

/// Waits until no fact is on its way, and compares.
pub async fn every_fact_is_told_once(platform: &Platform) -> Result<()> {
    let usual = format!("sql:{}", platform.database("events"));
    let log = Log::open(platform.setting("AGORA_EVENTS").unwrap_or(&usual), Clock::system()).await?;
    let mut databases = BTreeMap::new();
    for service in services::SERVICES {
        let options =
            Options { pool: 2, migrations: service.migrations, ..Options::new(service.name, Clock::system()) };
        let db = Db::open(&platform.database(service.name), options).await?;
        eventually(&format!("{} has told everything", service.name), async || {
            (db.backlog().await.ok()?.outbox == 0).then_some(())
        })
        .await;
        databases.insert(service.name, db);
    }
    let mut compared = 0;
    for (topic, service, sql) in COUNTED {
        let told = sequences(&log, topic).await?;
        let db = databases.get(service).context("a service")?;
        for row in db.read(async |session: &mut Session| session.rows(sql, &[]).await).await? {
            let (id, facts) = (row.text(0)?, row.int(1)?);
            let expected: Vec<i64> = (1..=facts).collect();
            assert_eq!(told.get(&id).cloned().unwrap_or_default(), expected, "the facts about {id} in {topic}");
            compared += 1;
        }
    }
    assert!(compared > 0, "there is nothing to compare");
    Ok(())
}

/// The numbers of the facts about each thing, as the log has them.
async fn sequences(log: &Log, topic: &str) -> Result<BTreeMap<String, Vec<i64>>> {
    let mut sequences = BTreeMap::<String, Vec<i64>>::new();
    let mut from = 0;
    loop {
        let events = log.read(topic, from, 500).await?;
        let Some(last) = events.last() else { return Ok(sequences) };
        from = last.offset + 1;
        for event in events {
            sequences.entry(event.aggregate).or_default().push(event.sequence);
        }
    }
}
