//! Refunds.

use kit::{Error, Scope, Timestamp};
use prost::Message;
use storage::{Bind, Change, Row, Session, Unit};

use super::{currency, refusal};
use crate::{
    proto,
    refund::{Refund, State},
};

const FIND: &str = "SELECT id, payment_id, order_id, owner, unit, scale, atoms, state, reference, refusal, sequence,
        create_time, update_time, automatic
    FROM refunds WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)";

/// A refund, as far as the scope goes.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Refund>, Error> {
    session.row(FIND, &[id.into(), scope.owner().into()]).await?.as_ref().map(read).transpose()
}

/// A refund, locked until the unit ends.
pub async fn lock(unit: &mut Unit, id: &str) -> Result<Option<Refund>, Error> {
    let everyone: Option<&str> = None;
    unit.row_for_update(FIND, &[id.into(), everyone.into()]).await?.as_ref().map(read).transpose()
}

/// Refunds older than the last one that was sent, the newest first; of one payment, or of every one if it is empty.
pub async fn list(
    session: &mut Session,
    scope: &Scope,
    payment_id: &str,
    after: &(Timestamp, String),
    limit: i64,
) -> Result<Vec<Refund>, Error> {
    let mut sql = String::from(
        "SELECT id, payment_id, order_id, owner, unit, scale, atoms, state, reference, refusal, sequence, \
         create_time, update_time, automatic FROM refunds WHERE (create_time, id) < ($1, $2)",
    );
    let mut binds: Vec<Bind> = vec![after.0.into(), (&after.1).into()];
    let payment_id = Some(payment_id).filter(|id| !id.is_empty());
    for (condition, value) in [(" AND owner = $", scope.owner()), (" AND payment_id = $", payment_id)] {
        if let Some(value) = value {
            binds.push(value.into());
            sql.push_str(&format!("{condition}{}", binds.len()));
        }
    }
    binds.push(limit.into());
    sql.push_str(&format!(" ORDER BY create_time DESC, id DESC LIMIT ${}", binds.len()));
    session.rows_dynamic(sql, &binds).await?.iter().map(read).collect()
}

/// Writes a refund that is asked for. False if there is a refund with this id.
pub async fn insert(unit: &mut Unit, from: State, refund: &Refund, soon: Timestamp) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO refunds (id, payment_id, order_id, owner, unit, scale, atoms, reference,
            create_time, automatic, state, refusal, sequence, due_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        ON CONFLICT (id) DO NOTHING";

    let fixed: [Bind; 10] = [
        (&refund.id).into(),
        (&refund.payment_id).into(),
        (&refund.order_id).into(),
        (&refund.owner).into(),
        (&refund.currency.code).into(),
        i64::from(refund.currency.scale).into(),
        refund.atoms.into(),
        (&refund.reference).into(),
        refund.create_time.into(),
        i64::from(refund.automatic).into(),
    ];
    if unit.exec(INSERT, &[fixed.as_slice(), &changing(refund, soon)].concat()).await? == 0 {
        return Ok(false);
    }
    record(unit, from, refund);
    Ok(true)
}

/// Writes how a refund went on. The row is locked by whoever decided.
pub async fn save(unit: &mut Unit, from: State, refund: &Refund, soon: Timestamp) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE refunds SET state = $3, refusal = $4, sequence = $5, due_time = $6, update_time = $7
        WHERE id = $1 AND sequence = $2";

    let which: [Bind; 2] = [(&refund.id).into(), (refund.sequence - 1).into()];
    if unit.exec(UPDATE, &[which.as_slice(), &changing(refund, soon)].concat()).await? == 0 {
        return Err(Error::internal(format!("{} changed while it was locked", refund.id)));
    }
    record(unit, from, refund);
    Ok(())
}

fn changing(refund: &Refund, soon: Timestamp) -> [Bind; 5] {
    let due_time = Some(soon).filter(|_| matches!(refund.state, State::Pending | State::Processing));
    [
        refund.state.name().into(),
        refund.refusal.as_ref().map(Error::encode).into(),
        refund.sequence.into(),
        due_time.into(),
        refund.update_time.into(),
    ]
}

/// The facts about a refund are told with its payment.
fn record(unit: &mut Unit, from: State, refund: &Refund) {
    let detail = proto::refund(refund).encode_to_vec();
    let (aggregate, to) = (refund.id.as_str(), refund.state.name());
    unit.history(&Change { aggregate, sequence: refund.sequence, from: from.name(), to, detail });
}

fn read(row: &Row) -> Result<Refund, Error> {
    let reference = row.text(8)?;
    // Before that was noted, orders wrote ids.
    let is_id = ["rtn", "ord"].iter().any(|prefix| kit::id::is_valid(prefix, &reference));
    Ok(Refund {
        id: row.text(0)?,
        payment_id: row.text(1)?,
        order_id: row.text(2)?,
        owner: row.text(3)?,
        currency: currency(row, 4)?,
        atoms: row.int(6)?,
        state: State::named(&row.text(7)?)?,
        automatic: row.optional_int(13)?.map_or(is_id, |automatic| automatic != 0),
        reference,
        refusal: refusal(row, 9)?,
        sequence: row.int(10)?,
        create_time: row.time(11)?,
        update_time: row.time(12)?,
    })
}
