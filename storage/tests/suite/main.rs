//! One suite over both databases.

mod crash;
mod events;
mod fixture;
mod idempotency;
mod opening;
mod units;
