//! The contract is what rules: what a descriptor says is refused or enforced, for a service that nothing here knows but
//! by its descriptor.

mod access;
mod house;
mod links;
mod proto;
mod requests;
mod rules;
