//! What survives a crash: the database of a context and its units, the outbox and the log, idempotency keys, pages.
//! Knows no business noun, and is the only crate that knows a database.

pub mod consumer;
pub mod failpoint;
pub mod idempotency;
pub mod page;
pub mod relay;
#[cfg(feature = "testing")]
pub mod testing;

mod again;
mod backlog;
mod db;
mod error;
mod event;
mod history;
mod idle;
mod inbox;
mod log;
mod migration;
mod schema;
mod session;
mod trace;
mod unit;
mod value;

pub use again::again;
pub use backlog::Backlog;
pub use db::{Db, Durability, Options, Stats};
pub use error::violated;
pub use event::Event;
pub use history::{StoredChange, history};
pub use idempotency::{Begun, Key};
pub use log::Log;
pub use migration::Migration;
pub use session::Session;
pub use unit::{Change, Fact, Unit};
pub use value::{Bind, Row, placeholders};
