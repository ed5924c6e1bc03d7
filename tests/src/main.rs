//! The whole platform, driven from outside over its edge.

mod binary;
mod client;
mod contract;
mod crashes;
mod doors;
mod foreign;
mod journeys;
mod lifetimes;
mod people;
mod platform;
mod purchase_crashes;
mod purchase_races;
mod purchase_refusals;
mod purchases;
mod readme;
mod refusals;
mod repeats;
mod roles;
mod shapes;
mod shop;
mod tidy;
mod work;
