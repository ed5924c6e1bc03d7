//! The port table of a process per role. Everything is on loopback unless it is told otherwise.

use std::net::{Ipv4Addr, SocketAddr};

use crate::services::SERVICES;

/// The certificate authority.
pub const CA: u16 = 9100;
/// The first of the sidecars' ports, in the order of the services; the edge's comes after the last.
const INBOUND: u16 = 9101;
/// The first of the pages for operators, in the same order.
const ADMIN: u16 = 9201;

/// Where the sidecar of a workload listens.
pub fn inbound(workload: &str) -> SocketAddr {
    at(INBOUND + position(workload))
}

/// Where the page for operators of a workload listens.
pub fn admin(workload: &str) -> SocketAddr {
    at(ADMIN + position(workload))
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn position(workload: &str) -> u16 {
    let found = SERVICES.iter().position(|service| service.name == workload).unwrap_or(SERVICES.len());
    u16::try_from(found).unwrap_or(u16::MAX - ADMIN)
}
