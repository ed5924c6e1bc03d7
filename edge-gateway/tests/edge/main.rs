//! The edge, driven from outside, in front of a contract that it has never seen.

mod json;
mod support;
