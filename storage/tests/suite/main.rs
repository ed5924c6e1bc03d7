//! One suite over both databases.

mod crash;
mod events;
mod fixture;
mod groups;
mod idempotency;
mod opening;
mod server;
mod units;
