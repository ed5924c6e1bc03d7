//! How far a consumer has come: its offset in each topic, its place in the life of each aggregate, and what it has put
//! aside. This is what makes a fact that is delivered twice take effect once.

use kit::{Error, Timestamp};

use crate::{
    db::Db,
    event::Event,
    session::Session,
    unit::Unit,
    value::{Bind, Row},
};

/// Refused, or failed too often.
pub(crate) const POISON: &str = "POISON";
/// Comes after one that is missing or poison.
pub(crate) const WAITING: &str = "WAITING";

/// Where a fact stands in the life of its aggregate.
pub(crate) enum Place {
    /// It is its turn; `parked` says whether others may wait for it.
    Next { parked: bool },
    /// It was handled before.
    Known,
    /// One before it is missing.
    Early,
}

/// A fact that a consumer has put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The fact.
    pub event: Event,
    /// `POISON` was refused, `WAITING` comes after one that is missing or poison, `RELEASED` is to be tried again.
    pub state: String,
    /// Why, in words.
    pub reason: String,
    /// Since when.
    pub time: Timestamp,
}

/// The next offset of a topic; begins at 0.
pub(crate) async fn offset(db: &Db, group: &str, topic: &str) -> Result<i64, Error> {
    const FIND: &str = "SELECT next_offset FROM consumer_offsets WHERE consumer = $1 AND topic = $2";
    const BEGIN: &str = "INSERT INTO consumer_offsets (consumer, topic, next_offset) VALUES ($1, $2, 0)
        ON CONFLICT (consumer, topic) DO NOTHING";
    let binds = [group.into(), topic.into()];
    if let Some(row) = db.read(async |session: &mut Session| session.row(FIND, &binds).await).await? {
        return row.int(0);
    }
    db.write(async |unit: &mut Unit| unit.exec(BEGIN, &binds).await).await?;
    Ok(0)
}

/// Whether the consumer still stands at `next`; locks its place for this unit.
pub(crate) async fn at(unit: &mut Unit, group: &str, topic: &str, next: i64) -> Result<bool, Error> {
    const FIND: &str = "SELECT next_offset FROM consumer_offsets WHERE consumer = $1 AND topic = $2";
    match unit.row_for_update(FIND, &[group.into(), topic.into()]).await? {
        Some(row) => Ok(row.int(0)? == next),
        None => Ok(false),
    }
}

pub(crate) async fn set_offset(unit: &mut Unit, group: &str, topic: &str, next: i64) -> Result<(), Error> {
    const SET: &str = "UPDATE consumer_offsets SET next_offset = $3 WHERE consumer = $1 AND topic = $2";
    unit.exec(SET, &[group.into(), topic.into(), next.into()]).await.map(|_| ())
}

/// Takes the event's place in the life of its aggregate, if it is its turn.
pub(crate) async fn advance(unit: &mut Unit, group: &str, event: &Event) -> Result<Place, Error> {
    const FIRST: &str = "INSERT INTO inbox (consumer, aggregate, sequence, parked) VALUES ($1, $2, $3, 0)
        ON CONFLICT (consumer, aggregate) DO UPDATE SET sequence = $3 WHERE inbox.sequence = 0 RETURNING parked";
    const NEXT: &str = "UPDATE inbox SET sequence = $3
        WHERE consumer = $1 AND aggregate = $2 AND sequence = $3 - 1 RETURNING parked";
    const FIND: &str = "SELECT sequence FROM inbox WHERE consumer = $1 AND aggregate = $2";

    let [consumer, aggregate, sequence] = place(group, event);
    let sql = if event.sequence == 1 { FIRST } else { NEXT };
    if let Some(row) = unit.row(sql, &[consumer.clone(), aggregate.clone(), sequence]).await? {
        return Ok(Place::Next { parked: row.int(0)? > 0 });
    }
    let done = unit.row(FIND, &[consumer, aggregate]).await?.map_or(Ok(0), |row| row.int(0))?;
    Ok(if event.sequence <= done { Place::Known } else { Place::Early })
}

/// Puts a fact aside. One that lies aside already stays as it is.
pub(crate) async fn park(unit: &mut Unit, group: &str, event: &Event, state: &str, why: &str) -> Result<(), Error> {
    const KEEP: &str = "INSERT INTO dead_letters
        (topic, log_offset, id, type, aggregate, sequence, fact_time, trace, payload, consumer, state, reason, time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ON CONFLICT (consumer, aggregate, sequence) DO NOTHING";
    const COUNT: &str = "INSERT INTO inbox (consumer, aggregate, sequence, parked) VALUES ($1, $2, 0, 1)
        ON CONFLICT (consumer, aggregate) DO UPDATE SET parked = inbox.parked + 1";

    let why: [Bind; 4] = [group.into(), state.into(), why.into(), unit.now().into()];
    let binds = [event.binds().as_slice(), &why].concat();
    if unit.exec(KEEP, &binds).await? > 0 {
        let [consumer, aggregate, _] = place(group, event);
        unit.exec(COUNT, &[consumer, aggregate]).await?;
    }
    Ok(())
}

/// Takes a fact back from those put aside.
pub(crate) async fn unpark(unit: &mut Unit, group: &str, event: &Event) -> Result<(), Error> {
    const TAKE: &str = "DELETE FROM dead_letters WHERE consumer = $1 AND aggregate = $2 AND sequence = $3";
    const COUNT: &str = "UPDATE inbox SET parked = parked - 1 WHERE consumer = $1 AND aggregate = $2";

    let [consumer, aggregate, sequence] = place(group, event);
    if unit.exec(TAKE, &[consumer.clone(), aggregate.clone(), sequence]).await? > 0 {
        unit.exec(COUNT, &[consumer, aggregate]).await?;
    }
    Ok(())
}

/// Changes the state of a fact that lies aside.
pub(crate) async fn mark(unit: &mut Unit, group: &str, event: &Event, state: &str, why: &str) -> Result<(), Error> {
    const MARK: &str = "UPDATE dead_letters SET state = $4, reason = $5
        WHERE consumer = $1 AND aggregate = $2 AND sequence = $3";
    let [consumer, aggregate, sequence] = place(group, event);
    unit.exec(MARK, &[consumer, aggregate, sequence, state.into(), why.into()]).await.map(|_| ())
}

/// The fact that waits at this place, if it is there.
pub(crate) async fn waiting(
    session: &mut Session,
    group: &str,
    aggregate: &str,
    sequence: i64,
) -> Result<Option<Event>, Error> {
    const FIND: &str = "SELECT topic, log_offset, id, type, aggregate, sequence, fact_time, trace, payload
        FROM dead_letters WHERE consumer = $1 AND aggregate = $2 AND sequence = $3 AND state = 'WAITING'";
    let row = session.row(FIND, &[group.into(), aggregate.into(), sequence.into()]).await?;
    row.map(|row| Event::read(&row, 0)).transpose()
}

/// A few facts that an operator has released, each aggregate's earliest first.
pub(crate) async fn released(session: &mut Session, group: &str) -> Result<Vec<Event>, Error> {
    const FIND: &str = "SELECT topic, log_offset, id, type, aggregate, sequence, fact_time, trace, payload
        FROM dead_letters WHERE consumer = $1 AND state = 'RELEASED' ORDER BY aggregate, sequence LIMIT 32";
    let rows = session.rows(FIND, &[group.into()]).await?;
    rows.iter().map(|row| Event::read(row, 0)).collect()
}

/// What a consumer has put aside, at most `limit`, each aggregate's earliest first.
///
/// # Errors
/// See [`Session::rows`].
pub async fn dead_letters(session: &mut Session, group: &str, limit: i64) -> Result<Vec<DeadLetter>, Error> {
    const LIST: &str = "SELECT topic, log_offset, id, type, aggregate, sequence, fact_time, trace, payload,
        state, reason, time FROM dead_letters WHERE consumer = $1 ORDER BY aggregate, sequence LIMIT $2";
    let rows = session.rows(LIST, &[group.into(), limit.into()]).await?;
    rows.iter().map(dead_letter).collect()
}

fn dead_letter(row: &Row) -> Result<DeadLetter, Error> {
    Ok(DeadLetter { event: Event::read(row, 0)?, state: row.text(9)?, reason: row.text(10)?, time: row.time(11)? })
}

/// Lets a consumer try the poison facts of an aggregate again, once their cause is mended. Says how many there are.
///
/// # Errors
/// See [`Session::rows`].
pub async fn release(unit: &mut Unit, group: &str, aggregate: &str) -> Result<u64, Error> {
    const RELEASE: &str = "UPDATE dead_letters SET state = 'RELEASED'
        WHERE consumer = $1 AND aggregate = $2 AND state = 'POISON'";
    unit.exec(RELEASE, &[group.into(), aggregate.into()]).await
}

fn place(group: &str, event: &Event) -> [Bind; 3] {
    [group.into(), (&event.aggregate).into(), event.sequence.into()]
}
