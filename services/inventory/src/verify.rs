//! Counting again: what is reserved against the reservations, what is on hand against the movements.

use std::{collections::BTreeMap, time::Duration};

use kit::{Error, Timestamp};
use storage::{Db, Session};

use crate::{
    stock::Pieces,
    store::{audit, audit::Counted, reservations},
};

/// How long after its time a reservation may still be held.
const GRACE: Duration = Duration::from_secs(5);
/// How many movements or reservations are read at a time, but never less than all movements of one item: whoever shares
/// the database's thread waits while those of the item that was moved most are counted.
const PAGE: i64 = 5_000;
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

/// Counts again, page by page. Each item is looked at at one moment, and all of them while they go on.
///
/// # Errors
/// If the database cannot be read.
pub async fn verify(db: &Db) -> Result<Findings, Error> {
    by_pages(db, PAGE).await
}

/// Counts again, so much in one read.
pub(crate) async fn by_pages(db: &Db, size: i64) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let mut after = String::new();
    loop {
        let read = async |session: &mut Session| match cut(&audit::items(session, &after, size).await?, size) {
            Some(end) => Ok(Some((audit::counted(session, &after, &end).await?, end))),
            None => Ok(None),
        };
        let Some((items, end)) = db.snapshot(read).await? else { break };
        for item in &items {
            findings.items += 1;
            compare(item, &mut findings);
        }
        after = end;
        // Whoever waits for this thread goes first.
        tokio::task::yield_now().await;
    }
    // At one moment, since an item changes together with a reservation: as much as is under way, however much ever was.
    let now = db.clock().now();
    db.snapshot(async |session: &mut Session| set_aside(session, now, size, &mut findings).await).await?;
    Ok(findings)
}

/// Where a page of items ends that together have no more movements than this; or of one that has more.
fn cut(items: &[(String, i64)], movements: i64) -> Option<String> {
    let mut sum = 0;
    let fits = items.iter().take_while(|(_, count)| {
        sum += (*count).max(1);
        sum <= movements
    });
    let count = fits.count().max(1);
    items.get(..count).and_then(<[_]>::last).map(|(id, _)| id.clone())
}

/// Compares what items say is reserved with what reservations hold.
async fn set_aside(session: &mut Session, now: Timestamp, size: i64, findings: &mut Findings) -> Result<(), Error> {
    let mut held = tally(session, now, size, findings).await?;
    let mut after = String::new();
    loop {
        let items = audit::reserved(session, &after, size).await?;
        let Some((last, _)) = items.last() else { break };
        after.clone_from(last);
        for (id, reserved) in &items {
            let pieces = held.remove(id).unwrap_or(0);
            if *reserved != pieces {
                findings.add(format!("{id} has {reserved} pieces reserved, but reservations hold {pieces}."));
            }
        }
    }
    for (id, pieces) in held {
        findings.add(format!("{id} has no pieces reserved, but reservations hold {pieces}."));
    }
    Ok(())
}

/// How many pieces of each item reservations say are set aside.
async fn tally(
    session: &mut Session,
    now: Timestamp,
    size: i64,
    findings: &mut Findings,
) -> Result<BTreeMap<String, i64>, Error> {
    let mut set_aside: BTreeMap<String, i64> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let held = reservations::held(session, &after, size).await?;
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

fn compare(item: &Counted, findings: &mut Findings) {
    let Counted { id, on_hand, reserved, movements, moved, moves } = item;
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
