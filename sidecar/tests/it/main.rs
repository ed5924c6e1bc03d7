//! Sidecars against each other, and against peers that lie, break and dawdle.

mod balance;
mod deadline;
mod drain;
mod handshake;
mod harness;
mod join;
mod policy;
mod retry;
mod rotation;
mod scripted;
