//! Lockout: after some wrong passwords an account answers nobody for a while, and longer each time.

use std::time::Duration;

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};

/// How patient an account is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How many wrong passwords have no consequence.
    pub free: i64,
    /// How long the account is locked after one more. Doubles with each.
    pub first: Duration,
    /// How long it is locked at the most.
    pub longest: Duration,
    /// After how long without a wrong password they are forgotten.
    pub forget: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            free: 5,
            first: Duration::from_secs(30),
            longest: Duration::from_secs(15 * 60),
            forget: Duration::from_secs(60 * 60),
        }
    }
}

/// The wrong passwords of one account. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many in a row.
    pub count: i64,
    /// When the last one was.
    pub last: Timestamp,
    /// Until when the account answers nobody.
    pub lock_until: Timestamp,
}

impl Failures {
    /// Refuses a login while the account is locked, whatever the password.
    ///
    /// # Errors
    /// `ACCOUNT_LOCKED`, with the time that is left.
    pub fn check(&self, now: Timestamp) -> Result<(), Error> {
        if self.lock_until <= now {
            return Ok(());
        }
        let left = self.lock_until.since(now);
        let seconds = left.as_millis().div_ceil(1_000);
        let message = format!("Too many failed logins. Try again in {seconds} s.");
        Err(Error::new(Reason::AccountLocked, message)
            .with("lock_until", self.lock_until.to_string())
            .with("retry_after_seconds", seconds.to_string())
            .retry_after(left))
    }

    /// Counts one more wrong password. One that came while the account was locked does not count, so that nobody can
    /// keep an account locked for ever.
    pub fn another(self, now: Timestamp, patience: &Patience) -> Self {
        if self.lock_until > now {
            return self;
        }
        let forgotten = self.last + patience.forget <= now;
        let count = if forgotten { 1 } else { self.count.saturating_add(1) };
        let lock_until = match u32::try_from(count - patience.free) {
            Ok(excess @ 1..) => now + patience.first.saturating_mul(doubled(excess - 1)).min(patience.longest),
            _ => Timestamp::default(),
        };
        Self { count, last: now, lock_until }
    }
}

fn doubled(times: u32) -> u32 {
    1_u32.checked_shl(times).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn after(count: usize) -> Failures {
        (0..count).fold(Failures::default(), |failures, _| {
            let now = failures.lock_until.max(START);
            failures.another(now, &Patience::default())
        })
    }

    #[test]
    fn five_wrong_passwords_are_free_and_the_sixth_locks() {
        crate::tests::install_contract();
        assert!(after(5).check(START).is_ok());
        let refusal = after(6).check(START).unwrap_err();
        assert_eq!(refusal.reason(), "ACCOUNT_LOCKED");
        assert_eq!(refusal.metadata("retry_after_seconds"), Some("30"));
        assert!(after(6).check(START + Duration::from_secs(30)).is_ok());
    }

    #[test]
    fn each_lock_is_twice_as_long_up_to_a_limit() {
        let lengths: Vec<_> = (6..13).map(|n| after(n).lock_until.since(after(n).last).as_secs()).collect();
        assert_eq!(lengths, [30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(after(200).lock_until.since(after(200).last).as_secs(), 900);
    }

    #[test]
    fn a_wrong_password_during_a_lock_neither_counts_nor_prolongs_it() {
        let locked = after(6);
        assert_eq!(locked.another(START + Duration::from_secs(29), &Patience::default()), locked);
    }

    #[test]
    fn wrong_passwords_are_forgotten_in_time() {
        let later = START + Patience::default().forget;
        assert_eq!(after(5).another(later, &Patience::default()).count, 1);
    }
}
