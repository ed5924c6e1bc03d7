//! Addresses: as the contract has them, and owned by a user.

use contracts::{r#type::v1::Reason, user::v1::Address};
use kit::{Error, Timestamp};

/// The address as it will be kept: with an id and a time of its own.
pub fn add(address: Address, id: String, now: Timestamp) -> Address {
    Address { id, create_time: Some(now.to_proto()), ..address }
}

/// Refuses one address more than `max`.
///
/// # Errors
/// `LIMIT_EXCEEDED`.
pub fn check_room(kept: i64, max: i64) -> Result<(), Error> {
    if kept < max {
        return Ok(());
    }
    let message = format!("You keep {kept} addresses, which is the most. Remove one first.");
    Err(Error::new(Reason::LimitExceeded, message).with("limit", max.to_string()))
}
