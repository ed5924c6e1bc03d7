//! The edge gateway.

pub mod router;
pub mod template;
