//! Whether units share a transaction without a savepoint each.
//!
//! A savepoint keeps the failure of a unit from its neighbours, and costs each unit that ends well: a trip to PostgreSQL, and
//! on SQLite a copy of every page that is changed. When units have ended well for a while they go without. A failure then
//! costs those before it a second run, from journals of what they did.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// After so many units that ended well, the next are trusted to do so: where failures are usual, nobody ever is.
const ENOUGH: usize = 2048;

/// Units since the last that left a transaction in disorder.
pub(super) struct Trust(AtomicUsize);

impl Trust {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(ENOUGH))
    }

    /// Whether units are trusted to end well.
    pub(super) fn holds(&self) -> bool {
        self.0.load(Relaxed) >= ENOUGH
    }

    /// A unit ended, and left nothing in its transaction that must not stay.
    pub(super) fn ended_well(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// A unit left a transaction in disorder.
    pub(super) fn ended_badly(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Whether a statement leaves nothing in its transaction, going by its text and, where its answer is one, by the number of
/// rows that it touched. What is no plain statement over rows may always leave something.
pub(super) fn leaves_nothing(sql: &str, touched: Option<u64>) -> bool {
    let over_rows = ["INSERT ", "UPDATE ", "DELETE "].iter().any(|word| sql.starts_with(word));
    sql.starts_with("SELECT ") || over_rows && touched == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_there_at_first_is_lost_at_once_and_comes_back_slowly() {
        let trust = Trust::new();
        assert!(trust.holds());
        trust.ended_badly();
        for _ in 0..ENOUGH {
            assert!(!trust.holds());
            trust.ended_well();
        }
        assert!(trust.holds());
    }

    #[test]
    fn only_what_reads_or_touches_no_row_leaves_nothing() {
        assert!(leaves_nothing("SELECT 1", None));
        assert!(leaves_nothing("INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING", Some(0)));
        for (sql, touched) in [
            ("INSERT INTO a VALUES (1)", Some(1)),
            ("INSERT INTO a VALUES (1) RETURNING b", None),
            ("UPDATE a SET b = 1 RETURNING b", None),
            ("WITH c AS (INSERT INTO a VALUES (1)) UPDATE a SET b = 1 WHERE b = 2", Some(0)),
            ("ALTER TABLE a ADD COLUMN b TEXT", Some(0)),
            ("LOCK TABLE a", Some(0)),
        ] {
            assert!(!leaves_nothing(sql, touched), "{sql}");
        }
    }
}
