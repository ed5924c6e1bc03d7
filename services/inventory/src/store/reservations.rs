//! Reservations: one row each. What was taken from where and what was shipped of it is one column, since nothing is
//! asked about it.

use kit::{Error, Timestamp};
use prost::Message;
use storage::{Bind, Row, Session, placeholders};

use crate::{
    reservation::{Line, Portion, Reservation, Shipment, State, Wanted},
    stock::overtaken,
};

/// Writes reservations, new or changed once since they were read.
///
/// # Errors
/// `SERIALIZATION_FAILURE` if others have changed one meanwhile. And see [`Session::rows`], as for every function here.
pub async fn save(session: &mut Session, reservations: &[&Reservation]) -> Result<(), Error> {
    if reservations.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO reservations (id, reference, state, expire_time, content, facts, version, create_time, \
         update_time) VALUES {} \
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, expire_time = excluded.expire_time, \
         content = excluded.content, facts = excluded.facts, version = excluded.version, \
         update_time = excluded.update_time \
         WHERE reservations.version = excluded.version - 1 RETURNING id",
        placeholders(reservations.len(), 9)
    );
    let mut binds: Vec<Bind> = Vec::with_capacity(reservations.len() * 9);
    for reservation in reservations {
        let Reservation { id, reference, state, expire_time, .. } = reservation;
        binds.extend([id.into(), reference.into(), state.name().into(), (*expire_time).into()]);
        binds.extend([Content::of(reservation).encode_to_vec().into(), reservation.facts.into()]);
        binds.extend([reservation.version.into(), reservation.create_time.into(), reservation.update_time.into()]);
    }
    if session.rows_dynamic(sql, &binds).await?.len() < reservations.len() {
        return Err(overtaken());
    }
    Ok(())
}

/// A reservation.
pub async fn load(session: &mut Session, id: &str) -> Result<Option<Reservation>, Error> {
    const FIND: &str = "SELECT id, reference, state, expire_time, facts, version, create_time, update_time, content
        FROM reservations WHERE id = $1";
    session.row(FIND, &[id.into()]).await?.as_ref().map(read_row).transpose()
}

/// Reservations after a time and an id, the newest first, in one state or in any.
pub async fn list(
    session: &mut Session,
    state: Option<State>,
    (time, id): &(Timestamp, String),
    limit: i64,
) -> Result<Vec<Reservation>, Error> {
    const ALL: &str = "SELECT id, reference, state, expire_time, facts, version, create_time, update_time, content
        FROM reservations WHERE (create_time, id) < ($1, $2) ORDER BY create_time DESC, id DESC LIMIT $3";
    const IN_STATE: &str = "SELECT id, reference, state, expire_time, facts, version, create_time, update_time, content
        FROM reservations WHERE state = $4 AND (create_time, id) < ($1, $2)
        ORDER BY create_time DESC, id DESC LIMIT $3";

    let page = [(*time).into(), id.into(), limit.into()];
    let rows = match state {
        Some(state) => session.rows(IN_STATE, &[&page[..], &[state.name().into()]].concat()).await?,
        None => session.rows(ALL, &page).await?,
    };
    rows.iter().map(read_row).collect()
}

/// The ids of reservations whose time is over, the oldest first.
pub async fn due(session: &mut Session, now: Timestamp, limit: i64) -> Result<Vec<String>, Error> {
    const DUE: &str = "SELECT id FROM reservations WHERE state = 'HELD' AND expire_time <= $1
        ORDER BY expire_time LIMIT $2";
    session.rows(DUE, &[now.into(), limit.into()]).await?.iter().map(|row| row.text(0)).collect()
}

/// Reservations after an id that are held, in the order of ids.
pub async fn held(session: &mut Session, after: &str, limit: i64) -> Result<Vec<Reservation>, Error> {
    const HELD: &str = "SELECT id, reference, state, expire_time, facts, version, create_time, update_time, content
        FROM reservations WHERE state = 'HELD' AND id > $1 ORDER BY id LIMIT $2";
    session.rows(HELD, &[after.into(), limit.into()]).await?.iter().map(read_row).collect()
}

/// Reads a reservation. The content is told apart: it is not in the same column of every query.
pub fn read(row: &Row, content: &[u8]) -> Result<Reservation, Error> {
    let Content { lines, shipments } = Content::decode(content).map_err(Error::internal)?;
    Ok(Reservation {
        id: row.text(0)?,
        reference: row.text(1)?,
        state: State::named(&row.text(2)?)?,
        lines: lines.into_iter().map(StoredLine::into_line).collect(),
        shipments: shipments.into_iter().map(StoredShipment::into_shipment).collect(),
        expire_time: row.optional_time(3)?,
        facts: row.int(4)?,
        version: row.int(5)?,
        create_time: row.time(6)?,
        update_time: row.time(7)?,
    })
}

fn read_row(row: &Row) -> Result<Reservation, Error> {
    read(row, &row.bytes(8)?)
}

/// The column `content`. Tags are never given to another field.
#[derive(Clone, PartialEq, Message)]
struct Content {
    #[prost(message, repeated, tag = "1")]
    lines: Vec<StoredLine>,
    #[prost(message, repeated, tag = "2")]
    shipments: Vec<StoredShipment>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredLine {
    #[prost(string, tag = "1")]
    variant_id: String,
    #[prost(message, repeated, tag = "2")]
    portions: Vec<StoredPortion>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredPortion {
    #[prost(string, tag = "1")]
    item_id: String,
    #[prost(int64, tag = "2")]
    quantity: i64,
    #[prost(int64, tag = "3")]
    committed: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredShipment {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, repeated, tag = "2")]
    wanted: Vec<StoredWanted>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredWanted {
    #[prost(string, tag = "1")]
    variant_id: String,
    #[prost(int64, tag = "2")]
    quantity: i64,
}

impl Content {
    fn of(reservation: &Reservation) -> Self {
        let portion = |portion: &Portion| StoredPortion {
            item_id: portion.item_id.clone(),
            quantity: portion.quantity,
            committed: portion.committed,
        };
        let line = |line: &Line| StoredLine {
            variant_id: line.variant_id.clone(),
            portions: line.portions.iter().map(portion).collect(),
        };
        let wanted =
            |wanted: &Wanted| StoredWanted { variant_id: wanted.variant_id.clone(), quantity: wanted.quantity };
        let shipment = |shipment: &Shipment| StoredShipment {
            id: shipment.id.clone(),
            wanted: shipment.wanted.iter().map(wanted).collect(),
        };
        Self {
            lines: reservation.lines.iter().map(line).collect(),
            shipments: reservation.shipments.iter().map(shipment).collect(),
        }
    }
}

impl StoredLine {
    fn into_line(self) -> Line {
        let portion = |StoredPortion { item_id, quantity, committed }| Portion { item_id, quantity, committed };
        Line { variant_id: self.variant_id, portions: self.portions.into_iter().map(portion).collect() }
    }
}

impl StoredShipment {
    fn into_shipment(self) -> Shipment {
        let wanted = |StoredWanted { variant_id, quantity }| Wanted { variant_id, quantity };
        Shipment { id: self.id, wanted: self.wanted.into_iter().map(wanted).collect() }
    }
}
