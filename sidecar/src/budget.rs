//! How many retries a destination may get: a fifth of its calls, so that a destination in trouble is not drowned by
//! those who want to help themselves.

use std::sync::atomic::{AtomicI64, Ordering};

/// What a retry costs.
const RETRY: i64 = 1000;
/// What each call adds: 20 % of a retry.
const CALL: i64 = RETRY / 5;
/// The most that is saved up: a hundred retries.
const FULL: i64 = 100 * RETRY;
/// What a new destination begins with, so that a quiet one may retry too: ten retries.
const START: i64 = 10 * RETRY;

/// The retries that are left, in thousandths.
pub(crate) struct Budget(AtomicI64);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(START))
    }

    /// Counts a call.
    pub(crate) fn call(&self) {
        if self.0.load(Ordering::Relaxed) < FULL {
            self.0.fetch_add(CALL, Ordering::Relaxed);
        }
    }

    /// Takes a retry, when it is scheduled and not only when it is sent. False if there is none left.
    pub(crate) fn retry(&self) -> bool {
        let take = |left| (left >= RETRY).then_some(left - RETRY);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_fifth_of_the_calls_in_the_long_run() {
        let budget = Budget::new();
        let retries = (0..10_000)
            .filter(|_| {
                budget.call();
                budget.retry()
            })
            .count();
        assert!((2_000..=2_011).contains(&retries), "{retries}");
    }

    #[test]
    fn a_quiet_time_does_not_save_up_a_storm() {
        let budget = Budget::new();
        (0..1_000_000).for_each(|_| budget.call());
        assert_eq!((0..1_000).filter(|_| budget.retry()).count(), 100);
    }
}
