//! What the databases of this process have done, for `/metrics`.

use std::fmt;

use kit::telemetry;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};
use storage::{Db, Stats};

/// Shows statements, commits and units of a database, read at each scrape.
pub fn show(db: Db) {
    telemetry::register(move |registry| registry.register_collector(Box::new(Work(db))));
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
