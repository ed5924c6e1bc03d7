//! Counting again: what is on hand against the movements, what is reserved against the reservations. A check that runs out
//! of time, or of room for problems, between two pieces says where to go on. A page of items is a piece for the time, and an
//! item for the room. So are an item that moved too often for one read, and all that is set aside: a check that has no
//! time for one of these fails, and needs a later deadline.

use std::{collections::BTreeMap, time::Duration};

use contracts::inventory::v1::VerifyStockResponse;
use kit::{Call, Error, Timestamp};
use storage::{Db, Session};
use tokio::time::Instant;

use crate::{
    Service,
    stock::Pieces,
    store::{audit, audit::Counted, reservations},
};

/// How long after its time a reservation may still be held.
const GRACE: Duration = Duration::from_secs(5);
/// How many movements or reservations are read at a time: whoever shares the database's thread waits as long.
const PAGE: i64 = 5_000;
/// How many problems a check tells.
const PROBLEMS: usize = 100;
/// How long before its deadline a check ends and says where to go on.
const RESERVE: Duration = Duration::from_secs(1);
/// What the tokens are for.
pub(crate) const TOKENS: &str = "stock that is verified";

/// Where a check goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// With the items after this one.
    Items(String),
    /// With what is set aside.
    SetAside,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many items there are.
    pub items: i64,
    /// What does not hold, a sentence each.
    pub problems: Vec<String>,
    /// Whether there was no room for more problems.
    pub is_full: bool,
}

impl Findings {
    /// Adds problems, if there is room for all of them.
    fn add(&mut self, problems: Vec<String>) {
        self.is_full = self.problems.len() + problems.len() > PROBLEMS;
        if !self.is_full {
            self.problems.extend(problems);
        }
    }
}

/// Counts again, page by page, from where the token says, for as long as there is time, and room for problems. Each item is
/// looked at at one moment, and all of them while they go on.
///
/// # Errors
/// `INVALID_PAGE_TOKEN`; if the database cannot be read.
pub async fn verify(service: &Service, page_token: &str) -> Result<VerifyStockResponse, Error> {
    let end = Call::current()?.deadline.and_then(|deadline| deadline.checked_sub(RESERVE));
    let keys = service.0.tokens.decode(page_token, TOKENS)?;
    let (was_right, from) = keys.map_or(Ok((true, Place::start())), |keys| read(&keys).ok_or_else(unknown))?;
    let (Findings { items: item_count, problems, .. }, left) = by_pages(&service.0.db, from, PAGE, end).await?;
    let is_right = was_right && problems.is_empty();
    let holds = is_right && left.is_none();
    let token = |place: Place| {
        let keys: Vec<String> = [is_right.to_string()].into_iter().chain(place.keys()).collect();
        service.0.tokens.encode(TOKENS, &keys)
    };
    Ok(VerifyStockResponse { holds, item_count, problems, next_page_token: left.map(token).unwrap_or_default() })
}

/// What a token says: whether everything was right so far, and where to go on.
fn read(keys: &[String]) -> Option<(bool, Place)> {
    let (was_right, place) = keys.split_first()?;
    Some((was_right.parse().ok()?, Place::read(place)?))
}

/// Counts, so much in one read, until everything is counted, the time is over or there is no room; and where it stopped
/// then.
pub(crate) async fn by_pages(
    db: &Db,
    from: Place,
    size: i64,
    end: Option<Instant>,
) -> Result<(Findings, Option<Place>), Error> {
    let mut findings = Findings::default();
    let mut left = Some(from);
    while let Some(place) = left {
        left = match place {
            Place::Items(after) => Some(items(db, &after, size, &mut findings).await?),
            Place::SetAside => {
                // At one moment, since an item changes together with a reservation: as much as is under way, however
                // much ever was.
                let now = db.clock().now();
                let read = async |session: &mut Session| set_aside(session, now, size).await;
                findings.add(db.snapshot(read).await?);
                findings.is_full.then_some(Place::SetAside)
            }
        };
        if findings.is_full || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        // Whoever waits for this thread goes first.
        tokio::task::yield_now().await;
    }
    Ok((findings, left))
}

fn unknown() -> Error {
    let message = "`page_token` says nothing that can be verified. Repeat the call without it.";
    Error::named("INVALID_PAGE_TOKEN", message).with("field", "page_token")
}

impl Place {
    /// Before everything.
    pub(crate) fn start() -> Self {
        Self::Items(String::new())
    }

    fn keys(self) -> Vec<String> {
        match self {
            Self::Items(after) => vec!["items".to_owned(), after],
            Self::SetAside => vec!["set aside".to_owned()],
        }
    }

    fn read(keys: &[String]) -> Option<Self> {
        match keys {
            [subject, after] if subject == "items" => Some(Self::Items(after.clone())),
            [subject] if subject == "set aside" => Some(Self::SetAside),
            _ => None,
        }
    }
}

/// Counts a page of items, or as many of them as there is room for problems. Gives back what comes next.
async fn items(db: &Db, after: &str, size: i64, findings: &mut Findings) -> Result<Place, Error> {
    let read = async |session: &mut Session| {
        let items = audit::items(session, after, size).await?;
        let Some(end) = cut(&items, size) else { return Ok(None) };
        let busy = items.first().is_some_and(|(_, movements)| *movements > size);
        let counted =
            if busy { audit::beyond(session, &end).await? } else { audit::counted(session, after, &end).await? };
        Ok(Some((counted, end, busy)))
    };
    let Some((items, end, busy)) = db.snapshot(read).await? else { return Ok(Place::SetAside) };
    let mut last = after.to_owned();
    for mut item in items {
        if busy {
            add_movements(db, &mut item, size).await?;
        }
        findings.add(compare(&item));
        if findings.is_full {
            return Ok(Place::Items(last));
        }
        findings.items += 1;
        last = item.id;
    }
    Ok(Place::Items(end))
}

/// Adds the movements of an item up, so many in one read. They are those that there were when the item was read: none is
/// ever changed, and those that come meanwhile have higher numbers.
async fn add_movements(db: &Db, item: &mut Counted, size: i64) -> Result<(), Error> {
    let mut after = 0;
    while after < item.movements {
        let end = (after + size).min(item.movements);
        let read = async |session: &mut Session| audit::moved(session, &item.id, after, end).await;
        let (moved, moves) = db.read(read).await?;
        item.moved = item.moved.saturating_add(moved);
        item.moves += moves;
        after = end;
        tokio::task::yield_now().await;
    }
    Ok(())
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

/// Compares what items say is reserved with what reservations hold. Gives back the first of what does not hold.
async fn set_aside(session: &mut Session, now: Timestamp, size: i64) -> Result<Vec<String>, Error> {
    let (mut held, mut problems) = tally(session, now, size).await?;
    let mut after = String::new();
    loop {
        let items = audit::reserved(session, &after, size).await?;
        let Some((last, _)) = items.last() else { break };
        after.clone_from(last);
        for (id, reserved) in &items {
            let pieces = held.remove(id).unwrap_or(0);
            if *reserved != pieces {
                tell(&mut problems, format!("{id} has {reserved} pieces reserved, but reservations hold {pieces}."));
            }
        }
    }
    for (id, pieces) in held {
        tell(&mut problems, format!("{id} has no pieces reserved, but reservations hold {pieces}."));
    }
    Ok(problems)
}

/// How many pieces of each item reservations say are set aside, and the first of those that should not be.
async fn tally(
    session: &mut Session,
    now: Timestamp,
    size: i64,
) -> Result<(BTreeMap<String, i64>, Vec<String>), Error> {
    let mut set_aside: BTreeMap<String, i64> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut after = String::new();
    loop {
        let held = reservations::held(session, &after, size).await?;
        let Some(last) = held.last() else { return Ok((set_aside, problems)) };
        after.clone_from(&last.id);
        for reservation in &held {
            for Pieces { item_id, quantity } in reservation.set_aside() {
                *set_aside.entry(item_id).or_default() += quantity;
            }
            if reservation.is_due(now - GRACE) {
                tell(&mut problems, format!("{} is still held although its time is over.", reservation.id));
            }
        }
    }
}

/// Adds one more problem, unless there are as many as a check tells.
fn tell(problems: &mut Vec<String>, problem: String) {
    if problems.len() < PROBLEMS {
        problems.push(problem);
    }
}

fn compare(item: &Counted) -> Vec<String> {
    let Counted { id, on_hand, reserved, movements, moved, moves } = item;
    let mut problems = Vec::new();
    if on_hand != moved {
        problems.push(format!("{id} has {on_hand} pieces, but its movements add up to {moved}."));
    }
    if movements != moves {
        problems.push(format!("{id} has had {movements} movements, but {moves} are written down."));
    }
    if !(0..=*on_hand).contains(reserved) {
        problems.push(format!("{id} has {reserved} pieces reserved of {on_hand}."));
    }
    problems
}
