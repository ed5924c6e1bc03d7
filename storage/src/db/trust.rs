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
