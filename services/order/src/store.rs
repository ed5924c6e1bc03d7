//! The SQL of orders. A row, its history and the facts about it are saved in one unit.

use contracts::r#type::v1::{Amount, Price};
use kit::{Error, Scope, Timestamp};
use prost::Message;
use storage::{Bind, Change, Row, Session, Unit};

use crate::{
    order::{Fact, Order, Rejection, Side, State, Trade},
    proto,
};

/// An order that is to be carried out, with the key under which the reply is awaited.
pub struct Open {
    /// The order.
    pub order: Order,
    /// The idempotency key, as text.
    pub request_key: Option<String>,
}

/// Writes a new order, leased to whoever placed it. False if its quote was used before.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn insert(unit: &mut Unit, open: &Open, facts: &[Fact], lease_until: Timestamp) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO orders (id, owner, state, sequence, facts, side, unit, quantity, price, currency,
            notional, fee, total, quote_id, create_time, update_time, request_key, lease_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16, $17)
        ON CONFLICT (quote_id) DO NOTHING";

    let Open { order, request_key } = open;
    let trade = &order.trade;
    let binds: [Bind; 17] = [
        (&order.id).into(),
        (&order.owner).into(),
        order.state.name().into(),
        order.sequence.into(),
        order.facts.into(),
        trade.side.name().into(),
        (&trade.quantity.unit).into(),
        (&trade.quantity.value).into(),
        (&trade.price.value).into(),
        (&trade.price.currency).into(),
        (&trade.notional.value).into(),
        (&trade.fee.value).into(),
        (&trade.total.value).into(),
        order.quote_id.as_deref().into(),
        order.create_time.into(),
        request_key.as_deref().into(),
        lease_until.into(),
    ];
    if unit.exec(INSERT, &binds).await? == 0 {
        return Ok(false);
    }
    record(unit, "", order, facts)?;
    Ok(true)
}

/// Writes how an order ended. False if it had changed meanwhile.
pub async fn end(unit: &mut Unit, before: &Order, after: &Order, facts: &[Fact]) -> Result<bool, Error> {
    const UPDATE: &str = "UPDATE orders SET state = $3, sequence = $4, facts = $5, transaction_id = $6,
            rejection_reason = $7, rejection_message = $8, update_time = $9
        WHERE id = $1 AND sequence = $2";

    let rejection = after.rejection.as_ref();
    let binds: [Bind; 9] = [
        (&after.id).into(),
        before.sequence.into(),
        after.state.name().into(),
        after.sequence.into(),
        after.facts.into(),
        after.transaction_id.as_deref().into(),
        rejection.map(|rejection| rejection.reason.as_str()).into(),
        rejection.map(|rejection| rejection.message.as_str()).into(),
        after.update_time.into(),
    ];
    if unit.exec(UPDATE, &binds).await? == 0 {
        return Ok(false);
    }
    record(unit, before.state.name(), after, facts)?;
    Ok(true)
}

/// Whether an order is pending that nobody has carried out in time.
pub async fn any_due(session: &mut Session, now: Timestamp) -> Result<bool, Error> {
    const DUE: &str = "SELECT id FROM orders WHERE state = 'PENDING' AND lease_until <= $1 LIMIT 1";
    Ok(session.row(DUE, &[now.into()]).await?.is_some())
}

/// Takes over orders that nobody has carried out in time, so that no other replica does.
pub async fn claim(unit: &mut Unit, lease_until: Timestamp, limit: i64) -> Result<Vec<Open>, Error> {
    const CLAIM: &str = "UPDATE orders SET lease_until = $2
        WHERE state = 'PENDING' AND lease_until <= $1 AND id IN
            (SELECT id FROM orders WHERE state = 'PENDING' AND lease_until <= $1 ORDER BY lease_until LIMIT $3)
        RETURNING id, owner, state, sequence, facts, side, unit, quantity, price, currency, notional, fee, total,
            quote_id, transaction_id, rejection_reason, rejection_message, create_time, update_time, request_key";

    let now = unit.now();
    let rows = unit.rows(CLAIM, &[now.into(), lease_until.into(), limit.into()]).await?;
    rows.iter().map(|row| Ok(Open { order: read(row)?, request_key: row.optional_text(19)? })).collect()
}

/// An order, as far as the scope goes.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Order>, Error> {
    const FIND: &str = "SELECT id, owner, state, sequence, facts, side, unit, quantity, price, currency, notional, fee,
            total, quote_id, transaction_id, rejection_reason, rejection_message, create_time, update_time
        FROM orders WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)";

    session.row(FIND, &[id.into(), scope.owner().into()]).await?.as_ref().map(read).transpose()
}

/// Orders before an id, the newest first, in one state or in any.
pub async fn list(
    session: &mut Session,
    scope: &Scope,
    state: Option<State>,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<Order>, Error> {
    let mut sql = String::from(
        "SELECT id, owner, state, sequence, facts, side, unit, quantity, price, currency, notional, fee, \
         total, quote_id, transaction_id, rejection_reason, rejection_message, create_time, update_time \
         FROM orders WHERE 1 = 1",
    );
    let mut binds: Vec<Bind> = Vec::new();
    let conditions =
        [(" AND owner = $", scope.owner()), (" AND state = $", state.map(State::name)), (" AND id < $", before)];
    for (condition, value) in conditions {
        if let Some(value) = value {
            binds.push(value.into());
            sql.push_str(&format!("{condition}{}", binds.len()));
        }
    }
    binds.push(limit.into());
    sql.push_str(&format!(" ORDER BY id DESC LIMIT ${}", binds.len()));
    session.rows_dynamic(sql, &binds).await?.iter().map(read).collect()
}

/// Writes the last change of an order, which remembers the order as it is now, and the facts that came with it.
fn record(unit: &mut Unit, from: &str, order: &Order, facts: &[Fact]) -> Result<(), Error> {
    let detail = proto::order(order).encode_to_vec();
    unit.history(&Change { aggregate: &order.id, sequence: order.sequence, from, to: order.state.name(), detail });
    let first = order.facts + 1 - i64::try_from(facts.len()).map_err(Error::internal)?;
    for (sequence, fact) in (first..).zip(facts) {
        let message = &proto::event(*fact, order);
        unit.fact(&storage::Fact { aggregate: &order.id, sequence, message })?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<Order, Error> {
    let unit = row.text(6)?;
    let currency = row.text(9)?;
    let money = |index| Ok::<_, Error>(Amount { value: row.text(index)?, unit: currency.clone() });
    let trade = Trade {
        side: Side::named(&row.text(5)?)?,
        quantity: Amount { value: row.text(7)?, unit },
        price: Price { value: row.text(8)?, currency: currency.clone() },
        notional: money(10)?,
        fee: money(11)?,
        total: money(12)?,
    };
    let rejection = match (row.optional_text(15)?, row.optional_text(16)?) {
        (Some(reason), Some(message)) => Some(Rejection { reason, message }),
        _ => None,
    };
    Ok(Order {
        id: row.text(0)?,
        owner: row.text(1)?,
        state: State::named(&row.text(2)?)?,
        trade,
        quote_id: row.optional_text(13)?,
        transaction_id: row.optional_text(14)?,
        rejection,
        sequence: row.int(3)?,
        facts: row.int(4)?,
        create_time: row.time(17)?,
        update_time: row.time(18)?,
    })
}
