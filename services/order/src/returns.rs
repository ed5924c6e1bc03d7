//! Goods that come back: where a return stands, and its rows.

use contracts::{
    order::v1::{LineQuantity, Return, r#return::State},
    r#type::v1::Reason,
};
use kit::{Error, Scope, Timestamp};
use prost::Message;
use storage::{Row, Session, Unit};

use crate::{order, order::Order, store};

/// How many returns of an order are listed.
const LIST: i64 = 1_000;

/// A return, with what is only known here.
#[derive(Clone)]
pub struct Open {
    /// The return.
    pub content: Return,
    /// Whether the goods have to be put back into stock, until they are.
    pub restock: bool,
    /// The idempotency key under which the reply is awaited, as text.
    pub request_key: Option<String>,
}

/// A new return of shipped pieces. `announced` are the pieces of other returns that are not back yet.
///
/// # Errors
/// `RETURN_WINDOW_CLOSED` when it is too late, `INVALID_STATE_TRANSITION` if nothing was shipped; `INVALID_FIELD` for
/// what was not ordered, `QUANTITY_LIMIT` for more than was shipped and is not announced yet.
pub fn announce(
    order: &Order,
    id: String,
    lines: &[LineQuantity],
    announced: &[LineQuantity],
    note: String,
    now: Timestamp,
) -> Result<Return, Error> {
    let closed = order.close_time.is_some_and(|time| time <= now) || order.state == order::State::Completed;
    if closed {
        let message = "The time to return goods of this order is over.";
        return Err(Error::new(Reason::ReturnWindowClosed, message).with("state", order.state.name()));
    }
    let shipped = matches!(order.state, order::State::PartiallyFulfilled | order::State::Fulfilled);
    let Some(purchase) = order.purchase().filter(|_| shipped) else {
        let message = "Nothing of this order was shipped. Cancel it instead.";
        return Err(Error::new(Reason::InvalidStateTransition, message)
            .with("from", order.state.name())
            .with("to", "REQUESTED"));
    };
    let already = match announced {
        [] => purchase.clone(),
        announced => purchase.take_back(announced)?.0,
    };
    let (_, lines, amount) = already.take_back(lines)?;
    Ok(Return {
        id,
        order_id: order.id.clone(),
        owner_id: order.owner.clone(),
        state: State::Requested.into(),
        lines,
        amount: Some(amount),
        note,
        create_time: Some(now.to_proto()),
        update_time: Some(now.to_proto()),
        ..Default::default()
    })
}

/// A return in another state.
///
/// # Errors
/// `INVALID_STATE_TRANSITION` if there is no such move.
pub fn moved(before: &Return, to: State, now: Timestamp) -> Result<Return, Error> {
    let legal = matches!(
        (before.state(), to),
        (State::Requested, State::Received | State::Rejected) | (State::Received, State::Refunded)
    );
    if legal {
        return Ok(Return { state: to.into(), update_time: Some(now.to_proto()), ..before.clone() });
    }
    let (from, to) = (name(before.state()), name(to));
    let message = format!("The return is {from}, and there is no such move from there.");
    Err(Error::new(Reason::InvalidStateTransition, message).with("from", from).with("to", to))
}

/// Writes a new return.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn insert(unit: &mut Unit, content: &Return) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO returns (id, order_id, owner, state, content, restock)
        VALUES ($1, $2, $3, $4, $5, 0)";

    let head = [(&content.id).into(), (&content.order_id).into(), (&content.owner_id).into()];
    let tail = [name(content.state()).into(), content.encode_to_vec().into()];
    unit.exec(INSERT, &[&head[..], &tail[..]].concat()).await.map(|_| ())
}

/// Writes a return that has moved on. False if somebody else moved it before.
pub async fn save(unit: &mut Unit, before: &Return, after: &Open) -> Result<bool, Error> {
    const UPDATE: &str = "UPDATE returns SET state = $3, content = $4, restock = $5, request_key = $6
        WHERE id = $1 AND state = $2";

    let Open { content, restock, request_key } = after;
    let [from, to] = [before, content].map(|content| name(content.state()).into());
    let head = [(&content.id).into(), from, to, content.encode_to_vec().into()];
    let tail = [i64::from(*restock).into(), request_key.as_deref().into()];
    Ok(unit.exec(UPDATE, &[&head[..], &tail[..]].concat()).await? > 0)
}

/// Notes that the goods of a return are in stock again.
pub async fn restocked(unit: &mut Unit, id: &str) -> Result<(), Error> {
    unit.exec("UPDATE returns SET restock = 0 WHERE id = $1", &[id.into()]).await.map(|_| ())
}

/// A return, as far as the scope goes.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` if there is none.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<Open, Error> {
    const FIND: &str = "SELECT content, restock, request_key FROM returns
        WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)";

    let row = session.row(FIND, &[id.into(), scope.owner().into()]).await?;
    let row = row.ok_or_else(|| store::missing("return", id))?;
    Ok(Open { content: read(&row)?, restock: row.int(1)? != 0, request_key: row.optional_text(2)? })
}

/// The returns of an order, the oldest first.
pub async fn list(session: &mut Session, order_id: &str) -> Result<Vec<Return>, Error> {
    const LIST_ALL: &str = "SELECT content FROM returns WHERE order_id = $1 ORDER BY id LIMIT $2";

    let rows = session.rows(LIST_ALL, &[order_id.into(), LIST.into()]).await?;
    rows.iter().map(read).collect()
}

/// The state's name in a row and in an error.
fn name(state: State) -> &'static str {
    match state {
        State::Unspecified => "",
        State::Requested => "REQUESTED",
        State::Received => "RECEIVED",
        State::Refunded => "REFUNDED",
        State::Rejected => "REJECTED",
    }
}

fn read(row: &Row) -> Result<Return, Error> {
    Return::decode(row.bytes(0)?.as_slice()).map_err(Error::internal)
}
