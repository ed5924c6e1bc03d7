//! edge-gateway.
