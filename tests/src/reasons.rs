//! Which reasons of the contract were met from outside, over each protocol, so that nobody has to believe that all were.

use std::{collections::BTreeSet, fs, path::Path, sync::Mutex};

use anyhow::{Context, Result};
use kit::contract::Contract;
use serde_json::Value;

use crate::{
    client::{Client, Protocol},
    people::text,
    platform::contract,
};

/// A reason that was met: at which platform, over which protocol.
type Met = (String, &'static str, String);

static MET: Mutex<BTreeSet<Met>> = Mutex::new(BTreeSet::new());

/// Those that need a platform of their own, and the file whose tests meet them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("TOKEN_EXPIRED", "lifetimes.rs"),
    ("PRICE_STALE", "lifetimes.rs"),
    ("REQUEST_IN_PROGRESS", "repeats.rs"),
    ("RESERVATION_NOT_HELD", "workloads.rs"),
    ("HOLD_ALREADY_POSTED", "workloads.rs"),
    ("HOLD_ALREADY_VOIDED", "workloads.rs"),
    ("EXCEEDS_HOLD", "workloads.rs"),
    ("UNBALANCED_TRANSACTION", "workloads.rs"),
];

/// Those that a caller cannot bring about at will, over these protocols, and why.
const OUT_OF_REACH: &[(&str, &[Protocol], &str)] = &[
    ("SERVICE_ONLY", &[Protocol::Rest], "what only services may call has no route"),
    ("UNKNOWN_FIELD", &[Protocol::Grpc], "fields have numbers there, and unknown ones are left alone"),
    ("ROUTE_NOT_FOUND", &[Protocol::Grpc], "the contract has every RPC that a client of it can name"),
    ("METHOD_NOT_ALLOWED", &[Protocol::Grpc], "there is one HTTP method"),
    (
        "MALFORMED_BODY",
        &[Protocol::Grpc],
        "a client of the contract writes what can be read; the edge's own tests do not",
    ),
    ("INVALID_FILTER", &BOTH, "no list takes a filter yet"),
    ("RATE_LIMITED", &BOTH, "these platforms have no limits, so that tests may hurry; the edge's own tests have"),
    ("OVERLOADED", &BOTH, "takes more load than a test may make; storage's and the sidecar's own tests make it"),
    ("DEPENDENCY_UNAVAILABLE", &BOTH, "takes a neighbour that is down; the sidecar's own tests have one"),
    ("DEADLINE_EXCEEDED", &BOTH, "takes a neighbour that hangs; the edge's and the order's own tests have one"),
    ("INTERNAL", &BOTH, "is a fault of ours"),
    ("SERIALIZATION_FAILURE", &BOTH, "takes two that collide at one moment; the storage's own tests make them"),
    ("LOCK_CONFLICT", &BOTH, "takes two that collide at one moment; the order's own tests make them"),
];

const BOTH: [Protocol; 2] = [Protocol::Rest, Protocol::Grpc];

/// Notes that a reason was met.
pub fn note(client: &Client, protocol: Protocol, reason: &str) {
    let met = (client.address.clone(), name(protocol), reason.to_owned());
    MET.lock().expect("nobody panics with it").insert(met);
}

/// Checks why an order was rejected, or what its saga waits for, as it is told: a reason of the contract, and a sentence
/// with these words.
pub fn told(client: &Client, why: &Value, reason: &str, words: &str) {
    assert_eq!(why["reason"], reason, "{why}");
    assert!(client.contract().reason_named(reason).is_some(), "the contract has no {reason}");
    let message = text(&why["message"]);
    assert!(!message.is_empty() && message.contains(words), "`{words}` is not in: {message}");
    note(client, client.protocol, reason);
}

/// Every reason of the contract was met at one of these platforms over each protocol, or it is said here why not.
pub fn all_met(contract: &Contract, platforms: &[&str]) {
    let missing = missing(contract, platforms);
    assert!(missing.is_empty(), "meet these, or say in reasons.rs why they cannot be met: {missing:#?}");
}

/// What was neither met nor excused, and what was both.
fn missing(contract: &Contract, platforms: &[&str]) -> Vec<String> {
    let met = MET.lock().expect("nobody panics with it").clone();
    let mut missing = Vec::new();
    for reason in contract.reasons() {
        for protocol in BOTH {
            let is_met = platforms
                .iter()
                .any(|platform| met.contains(&((*platform).to_owned(), name(protocol), reason.name.clone())));
            let excused = ELSEWHERE.iter().any(|(name, _)| *name == reason.name)
                || OUT_OF_REACH.iter().any(|(name, over, _)| *name == reason.name && over.contains(&protocol));
            match (is_met, excused) {
                (false, false) => missing.push(format!("{} over {}", reason.name, name(protocol))),
                (true, true) => missing.push(format!("{} over {} is met: strike it out", reason.name, name(protocol))),
                (true, false) | (false, true) => {}
            }
        }
    }
    missing
}

#[test]
fn what_excuses_a_reason_is_true() -> Result<()> {
    let contract = contract()?;
    for (reason, file) in ELSEWHERE {
        let code = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).context(*file)?;
        assert!(code.contains(&format!("\"{reason}\"")), "{file} says nothing of {reason}");
    }
    let excused = ELSEWHERE.iter().map(|(name, _)| name).chain(OUT_OF_REACH.iter().map(|(name, ..)| name));
    for name in excused {
        assert!(contract.reason_named(name).is_some(), "the contract has no {name}");
    }
    let nowhere = missing(&contract, &[]);
    let everything = 2 * contract.reasons().len() - 2 * ELSEWHERE.len();
    let excused: usize = OUT_OF_REACH.iter().map(|(_, over, _)| over.len()).sum();
    assert_eq!(nowhere.len(), everything - excused, "where nobody was, nothing was met");
    Ok(())
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Rest => "REST",
        Protocol::Grpc => "gRPC",
    }
}
