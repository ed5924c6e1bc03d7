//! The tables of this crate.

use crate::migration::{Migration, Schema};

/// In every context's database.
pub(crate) const SERVICE: Schema = (
    "storage",
    &[Migration {
        version: 1,
        name: "history, outbox, idempotency keys, inbox, dead letters",
        sql: include_str!("../migrations/service/0001.sql"),
    }],
);

/// In the log's database.
pub(crate) const LOG: Schema = (
    "storage/log",
    &[Migration { version: 1, name: "topics, records, leases", sql: include_str!("../migrations/log/0001.sql") }],
);
