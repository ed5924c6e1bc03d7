//! The SQL of orders. A row, its history and the facts about it are saved in one unit.

use std::{sync::LazyLock, time::Duration};

use contracts::{
    order::v1::{self as api, order_change::Cause, order_event::Event},
    r#type::v1::{Amount, Price, Reason},
};
use kit::{Error, Scope, Timestamp};
use prost::Message;
use storage::{Bind, Change, Row, Session, Unit};

use crate::{
    order::{Kind, Order, Rejection, Side, State, Trade},
    origin::Origin,
    proto,
    purchase::Purchase,
    saga::{self, Saga},
};

/// The columns of an order, in the order in which [`read`] expects them.
const COLUMNS: &str = "id, owner, state, sequence, facts, side, unit, quantity, price, currency, notional, fee, total, \
    quote_id, transaction_id, rejection_reason, rejection_message, create_time, update_time, request_key, purchase, \
    close_time, saga_state, saga_step, saga_task, saga_attempts, saga_deadline, saga_reason, saga_message, lease_until";

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
pub async fn insert(unit: &mut Unit, open: &Open, events: Vec<Event>, lease: Duration) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO orders (id, owner, state, sequence, facts, side, unit, quantity, price, currency,
            notional, fee, total, purchase, quote_id, create_time, update_time, request_key, saga_state, saga_step,
            saga_attempts, saga_deadline, lease_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16, $17, $18, $19, 0, $20, $21)
        ON CONFLICT (quote_id) DO NOTHING";

    let Open { order, request_key } = open;
    let mut binds: Vec<Bind> = vec![
        (&order.id).into(),
        (&order.owner).into(),
        order.state.name().into(),
        order.sequence.into(),
        order.facts.into(),
    ];
    let trade = match &order.kind {
        Kind::Trade(trade) => Some(trade.as_ref()),
        Kind::Purchase(_) => None,
    };
    binds.push(trade.map(|trade| trade.side.name()).into());
    let word = |word: for<'a> fn(&'a Trade) -> &'a str| Bind::from(trade.map(word));
    binds.extend([
        word(|trade| &trade.quantity.unit),
        word(|trade| &trade.quantity.value),
        word(|trade| &trade.price.value),
        word(|trade| &trade.price.currency),
        word(|trade| &trade.notional.value),
        word(|trade| &trade.fee.value),
        word(|trade| &trade.total.value),
        purchase(order),
        order.quote_id.as_deref().into(),
        order.create_time.into(),
        request_key.as_deref().into(),
        order.saga.state.name().into(),
        (&order.saga.step).into(),
        order.saga.deadline.into(),
        lease_until(order, unit.now() + lease),
    ]);
    if unit.exec(INSERT, &binds).await? == 0 {
        return Ok(false);
    }
    record(unit, "", order, Cause::Placed, order.facts, events)?;
    Ok(true)
}

/// Writes a change of an order, its cause and what became true with it, and leases it to whoever goes on with it, if anything is
/// to be done. False if it had changed meanwhile.
pub async fn save(
    unit: &mut Unit,
    before: &Order,
    after: &Order,
    cause: Cause,
    events: Vec<Event>,
    lease: Duration,
) -> Result<bool, Error> {
    const UPDATE: &str = "UPDATE orders SET state = $3, sequence = $4, facts = facts + $5, transaction_id = $6,
            rejection_reason = $7, rejection_message = $8, update_time = $9, purchase = $10, close_time = $11,
            saga_task = $12, saga_state = $13, saga_step = $14, saga_attempts = $15, saga_deadline = $16,
            saga_reason = $17, saga_message = $18, lease_until = $19
        WHERE id = $1 AND sequence = $2 RETURNING facts";

    let told = i64::try_from(events.len()).map_err(Error::internal)?;
    let [reason, message] = words(after.rejection.as_ref());
    let mut binds: Vec<Bind> = vec![
        (&after.id).into(),
        before.sequence.into(),
        after.state.name().into(),
        after.sequence.into(),
        told.into(),
        after.transaction_id.as_deref().into(),
        reason,
        message,
        after.update_time.into(),
        purchase(after),
        after.close_time.into(),
        after.saga.task.as_deref().into(),
    ];
    binds.extend(progress(&after.saga));
    binds.push(lease_until(after, unit.now() + lease));
    let Some(row) = unit.row(UPDATE, &binds).await? else { return Ok(false) };
    record(unit, before.state.name(), after, cause, row.int(0)?, events)?;
    Ok(true)
}

/// Notes how a saga goes on that was in one state: it waits, is stuck, or is taken up again. Nothing that a reader of the
/// order sees. False if the order, or the state, has changed meanwhile; or if it was woken, or noted by somebody else,
/// which shows in the number of attempts: what is to be noted was learned before that.
pub async fn note(unit: &mut Unit, order: &Order, saga: &Saga) -> Result<bool, Error> {
    const UPDATE: &str = "UPDATE orders SET saga_state = $4, saga_step = $5, saga_attempts = $6, saga_deadline = $7,
            saga_reason = $8, saga_message = $9, lease_until = $10
        WHERE id = $1 AND sequence = $2 AND saga_state = $3 AND saga_attempts = $11";

    let mut binds: Vec<Bind> = vec![(&order.id).into(), order.sequence.into(), order.saga.state.name().into()];
    binds.extend(progress(saga));
    binds.extend([saga.next_attempt.into(), order.saga.attempts.into()]);
    Ok(unit.exec(UPDATE, &binds).await? > 0)
}

/// Has an order tried at once that waits for its payment, as if for the first time. Whoever is at it, and asked before
/// there was news, does not put it off any more.
pub async fn wake(unit: &mut Unit, id: &str) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE orders SET lease_until = $2, saga_attempts = 0
        WHERE id = $1 AND state = 'PENDING' AND saga_state = 'RUNNING' AND saga_attempts > 0 AND lease_until > $2";

    let binds = [id.into(), unit.now().into()];
    unit.exec(UPDATE, &binds).await.map(|_| ())
}

/// Whether there is an order that nobody has carried out in time.
pub async fn any_due(session: &mut Session, now: Timestamp) -> Result<bool, Error> {
    const DUE: &str = "SELECT id FROM orders WHERE lease_until <= $1 LIMIT 1";
    Ok(session.row(DUE, &[now.into()]).await?.is_some())
}

/// Takes over orders that nobody has carried out in time, so that no other replica does.
pub async fn claim(unit: &mut Unit, lease_until: Timestamp, limit: i64) -> Result<Vec<Open>, Error> {
    static CLAIM: LazyLock<String> = LazyLock::new(|| {
        format!(
            "UPDATE orders SET lease_until = $2 WHERE lease_until <= $1 AND id IN
                (SELECT id FROM orders WHERE lease_until <= $1 ORDER BY lease_until LIMIT $3) RETURNING {COLUMNS}"
        )
    });
    let now = unit.now();
    let rows = unit.rows(CLAIM.as_str(), &[now.into(), lease_until.into(), limit.into()]).await?;
    rows.iter().map(|row| Ok(Open { order: read(row)?, request_key: row.optional_text(19)? })).collect()
}

/// An order, as far as the scope goes.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Order>, Error> {
    session.row(FIND.as_str(), &[id.into(), scope.owner().into()]).await?.as_ref().map(read).transpose()
}

/// The idempotency key, as text, under which the reply to an order is awaited.
pub async fn request_key(session: &mut Session, id: &str) -> Result<Option<String>, Error> {
    const FIND: &str = "SELECT request_key FROM orders WHERE id = $1";
    session.row(FIND, &[id.into()]).await?.map_or(Ok(None), |row| row.optional_text(0))
}

/// Orders by their ids.
pub async fn load_all(session: &mut Session, ids: &[&str]) -> Result<Vec<Order>, Error> {
    let places: Vec<String> = (1..=ids.len()).map(|place| format!("${place}")).collect();
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE id IN ({})", places.join(", "));
    let binds: Vec<Bind> = ids.iter().map(|id| (*id).into()).collect();
    session.rows_dynamic(sql, &binds).await?.iter().map(read).collect()
}

/// Trades that have not changed since a moment, with their states, that are carried out without a transaction of their
/// own, or have one without being carried out. Reads every trade.
pub async fn odd_trades(session: &mut Session, since: Timestamp, limit: i64) -> Result<Vec<(String, String)>, Error> {
    const FIND: &str = "SELECT id, state FROM orders WHERE purchase IS NULL AND update_time <= $1
        AND ((state = 'FULFILLED' AND transaction_id IS NULL) OR (state <> 'FULFILLED' AND transaction_id IS NOT NULL)
            OR transaction_id IN (SELECT transaction_id FROM orders WHERE transaction_id IS NOT NULL
                GROUP BY transaction_id HAVING COUNT(*) > 1))
        ORDER BY id LIMIT $2";

    let rows = session.rows(FIND, &[since.into(), limit.into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
}

/// An order, as far as the scope goes, that nobody else changes until the end of the unit.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` if there is none.
pub async fn lock(unit: &mut Unit, scope: &Scope, id: &str) -> Result<Order, Error> {
    let row = unit.row_for_update(FIND.as_str(), &[id.into(), scope.owner().into()]).await?;
    row.as_ref().map(read).transpose()?.ok_or_else(|| missing("order", id))
}

static FIND: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {COLUMNS} FROM orders WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)")
});

/// Says that there is no such thing.
pub fn missing(what: &str, id: &str) -> Error {
    let message = format!("There is no {what} {id}, or it is not yours.");
    Error::new(Reason::ResourceNotFound, message).with("resource", id)
}

/// Which orders are asked for.
#[derive(Default)]
pub struct Filter<'a> {
    /// Those of one customer, or of all.
    pub owner: Option<&'a str>,
    /// Those in one state, or in any.
    pub state: Option<State>,
    /// Those before an id, or from the newest on.
    pub before: Option<&'a str>,
}

/// Orders as far as the scope goes, the newest first.
pub async fn list(session: &mut Session, scope: &Scope, asked: &Filter<'_>, limit: i64) -> Result<Vec<Order>, Error> {
    let (sql, binds) = list_sql(scope, asked, limit);
    session.rows_dynamic(sql, &binds).await?.iter().map(read).collect()
}

/// The statement of [`list`].
pub fn list_sql(scope: &Scope, asked: &Filter<'_>, limit: i64) -> (String, Vec<Bind>) {
    let mut sql = format!("SELECT {COLUMNS} FROM orders WHERE {}", narrowed(scope, asked));
    let mut binds: Vec<Bind> = Vec::new();
    let conditions = [
        (" AND owner = $", scope.owner()),
        (" AND owner = $", asked.owner),
        (" AND state = $", asked.state.map(State::name)),
        (" AND id < $", asked.before),
    ];
    for (condition, value) in conditions {
        if let Some(value) = value {
            binds.push(value.into());
            sql.push_str(&format!("{condition}{}", binds.len()));
        }
    }
    binds.push(limit.into());
    sql.push_str(&format!(" ORDER BY id DESC LIMIT ${}", binds.len()));
    (sql, binds)
}

/// The condition of the index that finds the orders of everyone in a state that does not last. Those of one owner have an
/// index of their own.
fn narrowed(scope: &Scope, asked: &Filter<'_>) -> &'static str {
    match (scope.owner().or(asked.owner), asked.state) {
        (None, Some(State::Pending | State::Confirmed | State::PartiallyFulfilled | State::Cancelling)) => {
            "state IN ('PENDING', 'CONFIRMED', 'PARTIALLY_FULFILLED', 'CANCELLING')"
        }
        _ => "1 = 1",
    }
}

/// Orders after an id, the oldest first, by what is under way on them: one state, or any that has not ended.
pub async fn list_sagas(
    session: &mut Session,
    state: Option<saga::State>,
    after: &str,
    limit: i64,
) -> Result<Vec<Order>, Error> {
    let mut binds: Vec<Bind> = vec![after.into(), limit.into()];
    binds.extend(state.map(|state| Bind::from(state.name())));
    session.rows_dynamic(sagas_sql(state), &binds).await?.iter().map(read).collect()
}

/// The statement of [`list_sagas`].
pub fn sagas_sql(state: Option<saga::State>) -> String {
    use saga::State::{Compensated, Succeeded};
    // The index of what has not ended is used only where its own condition stands.
    let condition = match state {
        Some(Succeeded | Compensated) => "saga_state = $3",
        Some(_) => "saga_state IN ('RUNNING', 'COMPENSATING', 'STUCK') AND saga_state = $3",
        None => "saga_state IN ('RUNNING', 'COMPENSATING', 'STUCK')",
    };
    format!("SELECT {COLUMNS} FROM orders WHERE id > $1 AND {condition} ORDER BY id LIMIT $2")
}

/// Purchases that have rested since a moment and have pieces to ship, with the number of their last change, the oldest
/// first.
pub async fn to_ship(session: &mut Session, rested_since: Timestamp, limit: i64) -> Result<Vec<(String, i64)>, Error> {
    const FIND: &str = "SELECT id, sequence FROM orders WHERE state IN ('CONFIRMED', 'PARTIALLY_FULFILLED')
        AND update_time <= $1 AND saga_state = 'SUCCEEDED' ORDER BY update_time LIMIT $2";

    let rows = session.rows(FIND, &[rested_since.into(), limit.into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
}

/// Purchases whose goods can no longer be returned, the oldest first.
pub async fn to_close(session: &mut Session, now: Timestamp, limit: i64) -> Result<Vec<String>, Error> {
    const FIND: &str = "SELECT id FROM orders WHERE close_time <= $1 AND saga_state = 'SUCCEEDED'
        ORDER BY close_time LIMIT $2";

    let rows = session.rows(FIND, &[now.into(), limit.into()]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

/// Purchases before an id that have not changed since a moment, the newest first.
pub async fn settled(session: &mut Session, since: Timestamp, before: &str, limit: i64) -> Result<Vec<Order>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM orders WHERE id < $1 AND update_time <= $2 AND purchase IS NOT NULL
            ORDER BY id DESC LIMIT $3"
    );
    session.rows_dynamic(sql, &[before.into(), since.into(), limit.into()]).await?.iter().map(read).collect()
}

/// How many orders are stuck.
pub async fn stuck(session: &mut Session) -> Result<i64, Error> {
    const COUNT: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM orders
        WHERE saga_state IN ('RUNNING', 'COMPENSATING', 'STUCK') AND saga_state = 'STUCK'";

    session.row(COUNT, &[]).await?.map_or(Ok(0), |row| row.int(0))
}

/// Writes the last change of an order, which remembers the order as it is now and where the change came from, and what
/// became true with it. `facts` is the number of the last fact.
fn record(
    unit: &mut Unit,
    from: &str,
    order: &Order,
    cause: Cause,
    facts: i64,
    events: Vec<Event>,
) -> Result<(), Error> {
    let mut detail = proto::order_without_address(order).encode_to_vec();
    detail.extend(Origin::of(cause).encode_to_vec());
    unit.history(&Change { aggregate: &order.id, sequence: order.sequence, from, to: order.state.name(), detail });
    let first = facts + 1 - i64::try_from(events.len()).map_err(Error::internal)?;
    for (sequence, event) in (first..).zip(events) {
        let message = &api::OrderEvent { order: Some(proto::order_without_address(order)), event: Some(event) };
        unit.fact(&storage::Fact { aggregate: &order.id, sequence, message })?;
    }
    Ok(())
}

fn purchase(order: &Order) -> Bind {
    order.purchase().map(|purchase| purchase.message().encode_to_vec()).into()
}

fn lease_until(order: &Order, lease_until: Timestamp) -> Bind {
    order.saga.is_due().then_some(lease_until).into()
}

fn words(rejection: Option<&Rejection>) -> [Bind; 2] {
    [rejection.map(|why| why.reason.as_str()).into(), rejection.map(|why| why.message.as_str()).into()]
}

fn progress(saga: &Saga) -> [Bind; 6] {
    let [reason, message] = words(saga.last_error.as_ref());
    let head = [Bind::from(saga.state.name()), (&saga.step).into(), saga.attempts.into(), saga.deadline.into()];
    let [state, step, attempts, deadline] = head;
    [state, step, attempts, deadline, reason, message]
}

fn read(row: &Row) -> Result<Order, Error> {
    let rejection = |index| match (row.optional_text(index)?, row.optional_text(index + 1)?) {
        (Some(reason), Some(message)) => Ok::<_, Error>(Some(Rejection { reason, message })),
        _ => Ok(None),
    };
    let kind = match row.optional_bytes(20)? {
        Some(bytes) => {
            Kind::Purchase(Purchase::read(api::Purchase::decode(bytes.as_slice()).map_err(Error::internal)?))
        }
        None => Kind::Trade(Box::new(trade(row)?)),
    };
    let saga = Saga {
        state: saga::State::named(&row.text(22)?)?,
        step: row.text(23)?,
        task: row.optional_text(24)?,
        attempts: row.int(25)?,
        deadline: row.optional_time(26)?,
        last_error: rejection(27)?,
        next_attempt: row.optional_time(29)?,
    };
    Ok(Order {
        id: row.text(0)?,
        owner: row.text(1)?,
        state: State::named(&row.text(2)?)?,
        kind,
        quote_id: row.optional_text(13)?,
        transaction_id: row.optional_text(14)?,
        rejection: rejection(15)?,
        saga,
        close_time: row.optional_time(21)?,
        sequence: row.int(3)?,
        facts: row.int(4)?,
        create_time: row.time(17)?,
        update_time: row.time(18)?,
    })
}

fn trade(row: &Row) -> Result<Trade, Error> {
    let unit = row.text(6)?;
    let currency = row.text(9)?;
    let money = |index| Ok::<_, Error>(Amount { value: row.text(index)?, unit: currency.clone() });
    Ok(Trade {
        side: Side::named(&row.text(5)?)?,
        quantity: Amount { value: row.text(7)?, unit },
        price: Price { value: row.text(8)?, currency: currency.clone() },
        notional: money(10)?,
        fee: money(11)?,
        total: money(12)?,
    })
}
