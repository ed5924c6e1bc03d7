//! How a process speaks: configuration, telemetry, the server and its layers, links to others, who is calling, errors,
//! ids, amounts and the clock. Knows no business noun; reads the contract from descriptor bytes.

pub mod amount;
pub mod clock;
pub mod contract;
pub mod error;
pub mod id;
pub mod validate;

pub use clock::{Clock, Timestamp};
pub use error::Error;

/// The body of every request and reply between services.
pub type Body = tonic::body::Body;
