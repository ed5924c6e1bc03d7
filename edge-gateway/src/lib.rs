//! The edge gateway: REST, server-sent events and gRPC in, gRPC out. Every route, limit and rule comes from the
//! descriptors of the contract; there is no code for any single RPC, so it serves any contract.
//!
//! [`Edge`] is the whole; `front` tells the order in which a request passes.

mod admit;
mod behavior;
mod binding;
mod config;
mod docs;
mod errors;
mod etag;
mod fields;
mod front;
mod grpc;
pub mod json;
mod limit;
mod linger;
mod openapi;
mod pages;
mod query;
mod rest;
pub mod router;
mod routes;
mod serve;
mod sse;
pub mod template;
mod transcode;
mod upstream;

pub use config::{Config, Pages, Text};
pub use front::{Edge, EdgeError};
