//! The edge, driven from outside, in front of a contract that it has never seen.

mod docs;
mod etags;
mod examples;
mod fields;
mod json;
mod openapi;
mod refusals;
mod rest;
mod streams;
mod support;
mod tokens;
mod upstream;
