//! One suite over both databases.

mod fixture;
mod units;
