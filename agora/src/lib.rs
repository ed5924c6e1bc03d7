//! The one binary of the platform: which services there are, how they are wired, and what can be typed.

pub mod admin;
pub mod banner;
pub mod cli;
pub mod demo;
pub mod direct;
pub mod edge;
pub mod grant;
pub mod hold;
pub mod host;
pub mod keys;
pub mod metrics;
pub mod migrate;
pub mod ports;
pub mod role;
pub mod routes;
pub mod services;
pub mod settings;
pub mod up;
