//! Goods that leave together: where a shipment stands, and its rows.

use contracts::{
    order::v1::{self as api, Cancellation, Shipment, cancellation::Goods, shipment::State},
    r#type::v1::Reason,
};
use kit::{Error, Scope, Timestamp};
use prost::Message;
use storage::{Row, Session, Unit};

use crate::store;

/// How many shipments of an order are listed.
const LIST: i64 = 1_000;

/// A shipment that is under way, with the key under which the reply is awaited.
pub struct Open {
    /// The shipment.
    pub shipment: Shipment,
    /// The idempotency key, as text.
    pub request_key: Option<String>,
    /// How often the money for it was refused for good.
    pub refusals: i64,
}

impl Open {
    /// Under which id the money is taken. A refusal is kept under its id for ever, so there is another after each.
    pub fn charge_id(&self) -> String {
        match self.refusals {
            0 => self.shipment.id.clone(),
            refusals => kit::id::derive("shp", &self.shipment.id, &format!("capture/{refusals}")),
        }
    }
}

/// The shipment after it has left, though it may have been given up. What needs no parcel has arrived at once.
pub fn shipped(shipment: &Shipment, digital: bool, now: Timestamp) -> Shipment {
    let state = if digital { State::Delivered } else { State::Shipped };
    let (ship_time, deliver_time) = (Some(now.to_proto()), digital.then(|| now.to_proto()));
    Shipment { state: state.into(), ship_time, deliver_time, cancellation: None, ..shipment.clone() }
}

/// The shipment if it never leaves.
pub fn cancelled(shipment: &Shipment) -> Shipment {
    Shipment { state: State::Cancelled.into(), ..shipment.clone() }
}

/// The shipment after it has arrived. One that has arrived already stays as it is.
///
/// # Errors
/// `INVALID_STATE_TRANSITION` if it has not left.
pub fn delivered(shipment: &Shipment, now: Timestamp) -> Result<Shipment, Error> {
    match shipment.state() {
        State::Shipped => {
            let deliver_time = Some(now.to_proto());
            Ok(Shipment { state: State::Delivered.into(), deliver_time, ..shipment.clone() })
        }
        State::Delivered => Ok(shipment.clone()),
        State::Unspecified | State::Preparing | State::Cancelled => {
            let from = name(shipment.state());
            let message = format!("The shipment is {from}: only one that has left can arrive.");
            Err(Error::new(Reason::InvalidStateTransition, message).with("from", from).with("to", "DELIVERED"))
        }
    }
}

/// Writes a new shipment.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn insert(unit: &mut Unit, open: &Open) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO shipments (id, order_id, owner, state, content, update_time, request_key)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";

    let Open { shipment, request_key, .. } = open;
    let head = [(&shipment.id).into(), (&shipment.order_id).into(), (&shipment.owner_id).into()];
    let state = name(shipment.state()).into();
    let tail = [state, shipment.encode_to_vec().into(), unit.now().into(), request_key.as_deref().into()];
    unit.exec(INSERT, &[&head[..], &tail[..]].concat()).await.map(|_| ())
}

/// Writes a shipment that has moved on. False if it is not any more as it was read, even if it still stands there.
pub async fn save(unit: &mut Unit, before: &Shipment, after: &Shipment) -> Result<bool, Error> {
    const UPDATE: &str =
        "UPDATE shipments SET state = $3, content = $4, update_time = $5 WHERE id = $1 AND content = $2";

    let [read, written] = [before, after].map(|shipment| shipment.encode_to_vec().into());
    let binds = [(&after.id).into(), read, name(after.state()).into(), written, unit.now().into()];
    Ok(unit.exec(UPDATE, &binds).await? > 0)
}

/// Notes that the money for a shipment was refused for good, once for each id under which it was asked for.
pub async fn refused(unit: &mut Unit, open: &Open) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE shipments SET refusals = refusals + 1 WHERE id = $1 AND refusals = $2";

    unit.exec(UPDATE, &[(&open.shipment.id).into(), open.refusals.into()]).await.map(|_| ())
}

/// A shipment, as far as the scope goes.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` if there is none.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<Open, Error> {
    const FIND: &str = "SELECT content, request_key, refusals FROM shipments
        WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)";

    let row = session.row(FIND, &[id.into(), scope.owner().into()]).await?;
    let row = row.ok_or_else(|| store::missing("shipment", id))?;
    Ok(Open { shipment: read(&row)?, request_key: row.optional_text(1)?, refusals: row.int(2)? })
}

/// The shipments of an order, the oldest first.
pub async fn list(session: &mut Session, order_id: &str) -> Result<Vec<Shipment>, Error> {
    const LIST_ALL: &str = "SELECT content FROM shipments WHERE order_id = $1 ORDER BY update_time, id LIMIT $2";

    let mut found: Vec<Shipment> =
        session.rows(LIST_ALL, &[order_id.into(), LIST.into()]).await?.iter().map(read).collect::<Result<_, _>>()?;
    let created = |shipment: &Shipment| shipment.create_time.map(|time| (time.seconds, time.nanos));
    found.sort_by(|a, b| created(a).cmp(&created(b)).then_with(|| a.id.cmp(&b.id)));
    Ok(found)
}

/// Shipments that left before a moment and have not arrived, the oldest first.
pub async fn under_way(session: &mut Session, since: Timestamp, limit: i64) -> Result<Vec<String>, Error> {
    const FIND: &str = "SELECT id FROM shipments WHERE state = 'SHIPPED' AND update_time <= $1
        ORDER BY update_time LIMIT $2";

    let rows = session.rows(FIND, &[since.into(), limit.into()]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

/// The pieces of a variant that were taken out of stock for shipments that were given up.
pub fn given_up(shipments: &[Shipment], variant_id: &str) -> i64 {
    let taken = |one: &&Shipment| {
        let goods = one.cancellation.as_ref().map(Cancellation::goods);
        one.state() == State::Cancelled && matches!(goods, Some(Goods::Restocked | Goods::WrittenOff))
    };
    let pieces = shipments.iter().filter(taken).flat_map(|one| &one.lines);
    pieces.filter(|pieces| pieces.variant_id == variant_id).map(|pieces| pieces.quantity).sum()
}

/// The state's name in a row and in an error.
pub fn name(state: State) -> &'static str {
    match state {
        State::Unspecified => "",
        State::Preparing => "PREPARING",
        State::Shipped => "SHIPPED",
        State::Delivered => "DELIVERED",
        State::Cancelled => "CANCELLED",
    }
}

fn read(row: &Row) -> Result<Shipment, Error> {
    api::Shipment::decode(row.bytes(0)?.as_slice()).map_err(Error::internal)
}
