//! The rows that a unit buffers, and their way into the database: one cached INSERT a row on SQLite, where a statement
//! costs a function call; one statement for all of them on PostgreSQL, where it costs a round trip.

use kit::{Error, Timestamp};

use crate::{
    db::postgres::Columns,
    idempotency::{Key, State},
    session::{Connection, Session},
};

/// What a unit still has to write.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) changes: Vec<Step>,
    pub(crate) facts: Vec<Outgoing>,
    pub(crate) replies: Vec<Reply>,
}

pub(crate) struct Step {
    pub(crate) aggregate: String,
    pub(crate) sequence: i64,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) time: Timestamp,
    pub(crate) detail: Vec<u8>,
}

pub(crate) struct Outgoing {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) kind: String,
    pub(crate) aggregate: String,
    pub(crate) sequence: i64,
    pub(crate) time: Timestamp,
    pub(crate) trace: String,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Reply {
    pub(crate) key: Key,
    pub(crate) state: State,
    pub(crate) bytes: Vec<u8>,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.facts.is_empty() && self.replies.is_empty()
    }

    /// How much is buffered now, to return to.
    pub(crate) fn mark(&self) -> [usize; 3] {
        [self.changes.len(), self.facts.len(), self.replies.len()]
    }

    pub(crate) fn truncate(&mut self, [changes, facts, replies]: [usize; 3]) {
        self.changes.truncate(changes);
        self.facts.truncate(facts);
        self.replies.truncate(replies);
    }
}

/// Writes what is buffered.
pub(crate) async fn write(session: &mut Session, pending: Pending) -> Result<(), Error> {
    if pending.is_empty() {
        return Ok(());
    }
    match &mut session.connection {
        Connection::Transaction(transaction) => {
            session.counters.statement();
            transaction.execute_columns(ALL_AT_ONCE, columns(pending)).await.map(|_| ())
        }
        Connection::Turn(_) | Connection::Reader(_) => one_by_one(session, pending).await,
    }
}

async fn one_by_one(session: &mut Session, pending: Pending) -> Result<(), Error> {
    const HISTORY: &str = "INSERT INTO history (aggregate, sequence, from_state, to_state, time, detail)
        VALUES ($1, $2, $3, $4, $5, $6)";
    const OUTBOX: &str = "INSERT INTO outbox (id, topic, type, aggregate, sequence, time, trace, payload)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    const REPLY: &str = "UPDATE idempotency_keys SET state = $4, reply = $5
        WHERE principal = $1 AND method = $2 AND request_id = $3";

    for step in pending.changes {
        let Step { aggregate, sequence, from, to, time, detail } = step;
        let binds = [aggregate.into(), sequence.into(), from.into(), to.into(), time.into(), detail.into()];
        session.exec(HISTORY, &binds).await?;
    }
    for fact in pending.facts {
        let Outgoing { id, topic, kind, aggregate, sequence, time, trace, payload } = fact;
        let head = [id.into(), topic.into(), kind.into(), aggregate.into()];
        let tail = [sequence.into(), time.into(), trace.into(), payload.into()];
        session.exec(OUTBOX, &[head, tail].concat()).await?;
    }
    for Reply { key, state, bytes } in pending.replies {
        let [principal, method, request_id] = key.binds();
        session.exec(REPLY, &[principal, method, request_id, state.as_str().into(), bytes.into()]).await?;
    }
    Ok(())
}

/// Parameters are columns: six of history, eight of the outbox, five of stored replies.
const ALL_AT_ONCE: &str = "WITH
    changed AS (INSERT INTO history (aggregate, sequence, from_state, to_state, time, detail)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bytea[])),
    told AS (INSERT INTO outbox (id, topic, type, aggregate, sequence, time, trace, payload)
        SELECT * FROM unnest($7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[],
            $13::text[], $14::bytea[]))
    UPDATE idempotency_keys SET state = answered.state, reply = answered.reply
        FROM unnest($15::text[], $16::text[], $17::text[], $18::text[], $19::bytea[])
            AS answered (principal, method, request_id, state, reply)
        WHERE idempotency_keys.principal = answered.principal AND idempotency_keys.method = answered.method
            AND idempotency_keys.request_id = answered.request_id";

fn columns(pending: Pending) -> Vec<Columns> {
    let Pending { changes, facts, replies } = pending;
    let texts = |values: Vec<&String>| Columns::Texts(values.into_iter().cloned().collect());
    vec![
        texts(changes.iter().map(|step| &step.aggregate).collect()),
        Columns::Ints(changes.iter().map(|step| step.sequence).collect()),
        texts(changes.iter().map(|step| &step.from).collect()),
        texts(changes.iter().map(|step| &step.to).collect()),
        Columns::Ints(changes.iter().map(|step| step.time.micros()).collect()),
        Columns::Bytes(changes.iter().map(|step| step.detail.clone()).collect()),
        texts(facts.iter().map(|fact| &fact.id).collect()),
        texts(facts.iter().map(|fact| &fact.topic).collect()),
        texts(facts.iter().map(|fact| &fact.kind).collect()),
        texts(facts.iter().map(|fact| &fact.aggregate).collect()),
        Columns::Ints(facts.iter().map(|fact| fact.sequence).collect()),
        Columns::Ints(facts.iter().map(|fact| fact.time.micros()).collect()),
        texts(facts.iter().map(|fact| &fact.trace).collect()),
        Columns::Bytes(facts.iter().map(|fact| fact.payload.clone()).collect()),
        texts(replies.iter().map(|reply| &reply.key.principal).collect()),
        texts(replies.iter().map(|reply| &reply.key.method).collect()),
        texts(replies.iter().map(|reply| &reply.key.request_id).collect()),
        Columns::Texts(replies.iter().map(|reply| reply.state.as_str().to_owned()).collect()),
        Columns::Bytes(replies.iter().map(|reply| reply.bytes.clone()).collect()),
    ]
}
