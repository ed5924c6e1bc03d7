//! Counting again: what is reserved against the reservations, what is on hand against the movements, at one moment.

use std::{collections::BTreeMap, time::Duration};

use kit::{Error, Timestamp};
use storage::Session;

use crate::{
    stock::Pieces,
    store::{audit, audit::Counted, reservations},
};

/// How long after its time a reservation may still be held.
const GRACE: Duration = Duration::from_secs(5);
/// How many rows are read at a time.
const PAGE: i64 = 1_000;
/// How many problems are told.
const PROBLEMS: usize = 100;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many items there are.
    pub items: i64,
    /// What does not hold, a sentence each; the first hundred.
    pub problems: Vec<String>,
}

impl Findings {
    fn add(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// Counts again.
///
/// # Errors
/// See [`Session::rows`].
pub async fn verify(session: &mut Session, now: Timestamp) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let mut set_aside = tally(session, now, &mut findings).await?;
    let mut after = String::new();
    loop {
        let items = audit::counted(session, &after, PAGE).await?;
        let Some(last) = items.last() else { break };
        after.clone_from(&last.id);
        for item in &items {
            findings.items += 1;
            compare(item, set_aside.remove(&item.id).unwrap_or(0), &mut findings);
        }
    }
    for (id, pieces) in set_aside {
        findings.add(format!("{pieces} pieces are set aside of {id}, which does not exist."));
    }
    Ok(findings)
}

/// How many pieces of each item reservations say are set aside.
async fn tally(session: &mut Session, now: Timestamp, findings: &mut Findings) -> Result<BTreeMap<String, i64>, Error> {
    let mut set_aside: BTreeMap<String, i64> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let held = reservations::held(session, &after, PAGE).await?;
        let Some(last) = held.last() else { return Ok(set_aside) };
        after.clone_from(&last.id);
        for reservation in &held {
            for Pieces { item_id, quantity } in reservation.set_aside() {
                *set_aside.entry(item_id).or_default() += quantity;
            }
            if reservation.is_due(now - GRACE) {
                findings.add(format!("{} is still held although its time is over.", reservation.id));
            }
        }
    }
}

fn compare(item: &Counted, set_aside: i64, findings: &mut Findings) {
    let Counted { id, on_hand, reserved, movements, moved, moves } = item;
    if *reserved != set_aside {
        findings.add(format!("{id} has {reserved} pieces reserved, but reservations hold {set_aside}."));
    }
    if on_hand != moved {
        findings.add(format!("{id} has {on_hand} pieces, but its movements add up to {moved}."));
    }
    if movements != moves {
        findings.add(format!("{id} has had {movements} movements, but {moves} are written down."));
    }
    if !(0..=*on_hand).contains(reserved) {
        findings.add(format!("{id} has {reserved} pieces reserved of {on_hand}."));
    }
}
