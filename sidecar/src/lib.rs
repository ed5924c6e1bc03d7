//! The only thing that speaks on the pod network. Beside each application stands a sidecar: whatever the application
//! calls goes out through its sidecar, and whatever it is asked comes in through it.
//!
//! - [`Outbound`]: finds the workload of an RPC, balances over its endpoints for each call, keeps deadlines, and tries
//!   again where the contract says that it is safe or the call was provably not processed.
//! - inbound: TLS 1.3 with workloads of the mesh and nobody else; who may call what is decided by [`authorize`].
//! - [`Identity`]: a key in memory and a short-lived certificate with a SPIFFE id, from a [`LocalCa`] or a [`CaServer`].
//!
//! Knows no business noun and no database: all it knows about RPCs, it reads from the contract.

mod answer;
mod authorize;
mod budget;
mod ca;
mod ca_client;
mod ca_server;
mod call;
mod connection;
mod destination;
mod endpoint;
mod endpoints;
mod error;
mod explain;
mod failure;
mod identity;
mod inbound;
mod join;
mod meters;
mod outbound;
mod payload;
mod reply;
mod routes;
mod sidecar;
mod spiffe;
mod tls;

pub use authorize::{Decision, authorize};
pub use ca::{AUTHORITY, DEFAULT_LIFETIME, Issued, LocalCa};
pub use ca_client::CaClient;
pub use ca_server::CaServer;
pub use endpoints::Endpoints;
pub use error::Error;
pub use explain::explain;
pub use identity::{Identity, Source};
pub use join::{JoinTokens, token_path};
pub use meters::Metrics;
pub use outbound::Outbound;
pub use sidecar::{Config, Running, Sidecar};
pub use spiffe::{NotAWorkload, SpiffeId};
