//! The contracts of the platform: typed clients, servers and messages for everything in `proto/`, and the descriptors
//! from which routes, policy, validation and documents are derived. No logic lives here.

#![allow(missing_docs, rustdoc::all, clippy::all)]

mod tree {
    include!(concat!(env!("OUT_DIR"), "/tree.rs"));
}

/// `Debug` without what the contract marks as secret.
mod redacted {
    include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
}

pub use tree::{agora::*, google};

/// The encoded `google.protobuf.FileDescriptorSet` of every contract, with comments and all options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
