//! What the databases of this process have done, and what they still have to do, for `/metrics`.

use std::{fmt, time::Duration};

use kit::{drain::Draining, telemetry};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::Gauge},
};
use storage::{Backlog, Db, Stats};

/// How often the backlog is looked at.
const TICK: Duration = Duration::from_secs(5);

/// Shows statements, commits and units of a database, read at each scrape.
pub fn show(db: Db) {
    telemetry::register(move |registry| registry.register_collector(Box::new(Work(db))));
}

/// Shows what a database still has to do, looked at every few seconds until the drain.
pub async fn follow_backlog(db: Db, draining: Draining) {
    let gauge = |what: &str, help: &str| {
        let gauge: Gauge = Gauge::default();
        let name = format!("storage_{}_{what}", db.name());
        telemetry::register(|registry| registry.register(name, help, gauge.clone()));
        gauge
    };
    let outbox = gauge("outbox", "Facts that are committed and not yet in the log");
    let lag = gauge("outbox_lag_seconds", "Since when the oldest of them waits");
    let poison = gauge("dead_letters", "Facts that a follower put aside because it cannot handle them");
    let waiting = gauge("dead_letters_waiting", "Facts that lie behind one that was put aside or is missing");
    loop {
        match db.backlog().await {
            Ok(Backlog { outbox: facts, oldest, poison: parked, waiting: behind }) => {
                outbox.set(signed(facts));
                let since = oldest.map_or(Duration::ZERO, |oldest| db.clock().now().since(oldest));
                lag.set(signed(since.as_secs()));
                poison.set(signed(parked));
                waiting.set(signed(behind));
            }
            Err(error) => tracing::warn!(%error, database = db.name(), "the backlog could not be read"),
        }
        tokio::select! {
            () = draining.wait() => return,
            () = db.clock().sleep(TICK) => {}
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

struct Work(Db);

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Work").field(&self.0.name()).finish()
    }
}

impl Collector for Work {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Stats { statements, commits, units } = self.0.stats();
        for (what, help, count) in [
            ("statements", "Statements of stores and of buffered rows", statements),
            ("commits", "Commits, each with a flush to disk", commits),
            ("units", "Units of work that were committed", units),
        ] {
            let counter = ConstCounter::new(count);
            // A family per database: collectors of one name would each print the head of the family.
            let name = format!("storage_{}_{what}", self.0.name());
            counter.encode(encoder.encode_descriptor(&name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
