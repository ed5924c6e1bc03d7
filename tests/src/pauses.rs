//! Processes that sleep and do not know it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kit::Clock;
use storage::{Log, Session};

use crate::{client::Protocol, customers::Crowd, facts::every_fact_is_told_once, platform::within, roles};

/// The lease of whoever appends the facts about orders.
const LEASE: &str = "relay/order";
/// How long a lease is good for without being renewed.
const LEASE_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take until the other one has taken over.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often both are put to sleep until one was that held the lease.
const ROUNDS: usize = 4;

/// T-PAUSE: each of two order services in turn is stopped for longer than any of its leases, while orders come in: that of
/// its relay, and those of the orders that it carries out. The other takes over, and when the sleeper wakes in the middle
/// of what it did, it tells nothing twice and nothing out of order, and undoes nobody's work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_slept_through_its_leases_does_no_harm_when_it_wakes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = [("AGORA_DEMO_WAREHOUSE", "true"), ("AGORA_SHIP_DELAY", "50ms")];
    let mut platform = roles::start(folder.path(), &settings, &["order"]).await?;
    let crowd = Crowd::gather(&platform.client(Protocol::Grpc)?, 8).await?;
    let log = Log::open(platform.setting("AGORA_EVENTS").context("the log")?, Clock::system()).await?;
    within(PATIENCE, "something has happened to an order", async || holder(&log).await.ok()).await;
    let sleepers: Vec<usize> =
        (0..platform.processes().len()).filter(|number| platform.processes()[*number].name == "order").collect();
    let mut taken_over = 0;
    for sleeper in sleepers.iter().cycle().take(ROUNDS) {
        let process = &platform.processes()[*sleeper];
        process.signal("STOP")?;
        let (asleep, holder, told) = (Instant::now(), holder(&log).await?, told(&log).await?);
        let after = within(PATIENCE, "somebody tells what happens to orders", async || {
            let grown = self::told(&log).await.ok()? > told;
            let after = self::holder(&log).await.ok()?;
            (asleep.elapsed() > LEASE_LIMIT && grown).then_some(after)
        })
        .await;
        process.signal("CONT")?;
        taken_over += usize::from(after != holder);
        if taken_over > 0 && *sleeper == sleepers[1] {
            break;
        }
    }
    ensure!(taken_over > 0, "no sleeper held the lease");
    crowd.settle().await?;
    every_fact_is_told_once(&platform).await
}

async fn holder(log: &Log) -> Result<String> {
    const HOLDER: &str = "SELECT holder FROM leases WHERE name = $1";
    let row = log.db().read(async |session: &mut Session| session.row(HOLDER, &[LEASE.into()]).await).await?;
    Ok(row.context("nobody has told anything yet")?.text(0)?)
}

/// How many facts about orders there are in the log.
async fn told(log: &Log) -> Result<i64> {
    const NEXT: &str = "SELECT next_offset FROM log_topics WHERE topic = 'order-events'";
    let row = log.db().read(async |session: &mut Session| session.row(NEXT, &[]).await).await?;
    row.map_or(Ok(0), |row| Ok(row.int(0)?))
}
