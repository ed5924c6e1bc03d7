//! How a process speaks: configuration, telemetry, the server and its layers, links to others, who is calling, errors,
//! ids, amounts and the clock. Knows no business noun; reads the contract from descriptor bytes.

pub mod amount;
pub mod auth;
pub mod call;
pub mod clock;
pub mod config;
pub mod contract;
pub mod drain;
pub mod error;
pub mod guard;
pub mod health;
pub mod id;
mod introspection;
mod leash;
pub mod link;
pub mod server;
pub mod telemetry;
pub mod timeout;
pub mod trace;
pub mod units;
pub mod validate;

pub use call::{Call, Caller, Peer, Scope};
pub use clock::{Clock, Timestamp};
pub use error::Error;

/// The body of every request and reply between services.
pub type Body = tonic::body::Body;
