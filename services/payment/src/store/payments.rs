//! Payments.

use kit::{Error, Scope, Timestamp};
use prost::Message;
use storage::{Bind, Change, Row, Session, Unit};

use super::{currency, refusal};
use crate::{
    payment::{Attention, Payment, Release, State, Step},
    proto,
};

const FIND: &str = "SELECT id, order_id, owner, method_id, provider, state, unit, scale, amount, captured, capturing,
        refunded, void_asked, release, reference, refusal, action_url, expire_time, sequence, facts, create_time,
        update_time
    FROM payments WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)";

/// Which payments to list.
pub struct Filter<'a> {
    /// Whose.
    pub scope: &'a Scope,
    /// Of which order; of every one if empty.
    pub order_id: &'a str,
    /// In which state; in any if none.
    pub state: Option<State>,
}

/// A payment, as far as the scope goes.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Payment>, Error> {
    session.row(FIND, &[id.into(), scope.owner().into()]).await?.as_ref().map(read).transpose()
}

/// A payment, locked until the unit ends.
pub async fn lock(unit: &mut Unit, id: &str) -> Result<Option<Payment>, Error> {
    let everyone: Option<&str> = None;
    unit.row_for_update(FIND, &[id.into(), everyone.into()]).await?.as_ref().map(read).transpose()
}

/// Payments older than the last one that was sent, the newest first.
pub async fn list(
    session: &mut Session,
    filter: &Filter<'_>,
    after: &(Timestamp, String),
    limit: i64,
) -> Result<Vec<Payment>, Error> {
    let mut sql = String::from(
        "SELECT id, order_id, owner, method_id, provider, state, unit, scale, amount, captured, capturing, refunded, \
         void_asked, release, reference, refusal, action_url, expire_time, sequence, facts, create_time, update_time \
         FROM payments WHERE (create_time, id) < ($1, $2)",
    );
    let mut binds: Vec<Bind> = vec![after.0.into(), (&after.1).into()];
    let order_id = Some(filter.order_id).filter(|id| !id.is_empty());
    let conditions = [
        (" AND owner = $", filter.scope.owner()),
        (" AND order_id = $", order_id),
        (" AND state = $", filter.state.map(State::name)),
    ];
    for (condition, value) in conditions {
        if let Some(value) = value {
            binds.push(value.into());
            sql.push_str(&format!("{condition}{}", binds.len()));
        }
    }
    binds.push(limit.into());
    sql.push_str(&format!(" ORDER BY create_time DESC, id DESC LIMIT ${}", binds.len()));
    session.rows_dynamic(sql, &binds).await?.iter().map(read).collect()
}

/// Writes the first move of a payment. False if there is a payment with this id.
///
/// `soon` is when somebody looks after it, if an answer is missing by then.
pub async fn insert(unit: &mut Unit, step: &Step, soon: Timestamp) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO payments (id, order_id, owner, method_id, unit, scale, amount, create_time,
            provider, state, captured, capturing, refunded, void_asked, release, reference, refusal, action_url,
            expire_time, sequence, facts, due_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
        ON CONFLICT (id) DO NOTHING";

    let payment = &step.payment;
    let fixed: [Bind; 8] = [
        (&payment.id).into(),
        (&payment.order_id).into(),
        (&payment.owner).into(),
        payment.method_id.as_deref().into(),
        (&payment.currency.code).into(),
        i64::from(payment.currency.scale).into(),
        payment.amount.into(),
        payment.create_time.into(),
    ];
    if unit.exec(INSERT, &[fixed.as_slice(), &changing(payment, soon)].concat()).await? == 0 {
        return Ok(false);
    }
    record(unit, step)?;
    Ok(true)
}

/// Writes a later move. False if the payment had changed meanwhile.
pub async fn save(unit: &mut Unit, step: &Step, soon: Timestamp) -> Result<bool, Error> {
    const UPDATE: &str = "UPDATE payments SET provider = $3, state = $4, captured = $5, capturing = $6, refunded = $7,
            void_asked = $8, release = $9, reference = $10, refusal = $11, action_url = $12, expire_time = $13,
            sequence = $14, facts = $15, due_time = $16, update_time = $17
        WHERE id = $1 AND sequence = $2";

    let payment = &step.payment;
    let which: [Bind; 2] = [(&payment.id).into(), (payment.sequence - 1).into()];
    if unit.exec(UPDATE, &[which.as_slice(), &changing(payment, soon)].concat()).await? == 0 {
        return Ok(false);
    }
    record(unit, step)?;
    Ok(true)
}

/// Leaves a payment alone of which somebody thought that it needed looking after, until it does: for ever if it has ended.
pub async fn rest(unit: &mut Unit, payment: &Payment, soon: Timestamp) -> Result<(), Error> {
    const REST: &str = "UPDATE payments SET due_time = $3 WHERE id = $1 AND sequence = $2";
    let due_time = due_time(payment, soon);
    unit.exec(REST, &[(&payment.id).into(), payment.sequence.into(), due_time.into()]).await.map(drop)
}

fn due_time(payment: &Payment, soon: Timestamp) -> Option<Timestamp> {
    match payment.attention() {
        Attention::Never => None,
        Attention::Now => Some(payment.update_time),
        Attention::Soon => Some(soon),
        Attention::At(time) => Some(time),
    }
}

fn changing(payment: &Payment, soon: Timestamp) -> [Bind; 15] {
    [
        (&payment.provider).into(),
        payment.state.name().into(),
        payment.captured.into(),
        payment.capturing.into(),
        payment.refunded.into(),
        i64::from(payment.void_asked).into(),
        payment.release.name().into(),
        payment.reference.as_deref().into(),
        payment.refusal.as_ref().map(Error::encode).into(),
        payment.action_url.as_deref().into(),
        payment.expire_time.into(),
        payment.sequence.into(),
        payment.facts.into(),
        due_time(payment, soon).into(),
        payment.update_time.into(),
    ]
}

/// Writes the history of a move, which remembers the payment as it is now, and the facts that came with it.
fn record(unit: &mut Unit, step: &Step) -> Result<(), Error> {
    let Step { from, payment, facts } = step;
    let detail = proto::payment(payment).encode_to_vec();
    let (aggregate, to) = (payment.id.as_str(), payment.state.name());
    unit.history(&Change { aggregate, sequence: payment.sequence, from: from.name(), to, detail });
    let first = payment.facts + 1 - i64::try_from(facts.len()).map_err(Error::internal)?;
    for (sequence, fact) in (first..).zip(facts) {
        unit.fact(&storage::Fact { aggregate, sequence, message: &proto::event(fact, payment) })?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<Payment, Error> {
    Ok(Payment {
        id: row.text(0)?,
        order_id: row.text(1)?,
        owner: row.text(2)?,
        method_id: row.optional_text(3)?,
        provider: row.text(4)?,
        state: State::named(&row.text(5)?)?,
        currency: currency(row, 6)?,
        amount: row.int(8)?,
        captured: row.int(9)?,
        capturing: row.int(10)?,
        refunded: row.int(11)?,
        void_asked: row.int(12)? != 0,
        release: Release::named(&row.text(13)?)?,
        reference: row.optional_text(14)?,
        refusal: refusal(row, 15)?,
        action_url: row.optional_text(16)?,
        expire_time: row.optional_time(17)?,
        sequence: row.int(18)?,
        facts: row.int(19)?,
        create_time: row.time(20)?,
        update_time: row.time(21)?,
    })
}
