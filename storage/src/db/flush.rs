//! The rows that a unit buffers until its end, and their ways into the database.

use std::borrow::Cow;

use kit::Timestamp;

use super::{many::Rows, postgres::Columns};
use crate::{
    idempotency::{Key, State},
    value::Bind,
};

const HISTORY: Rows = Rows("INSERT INTO history (aggregate, sequence, from_state, to_state, time, detail) VALUES", "");
const OUTBOX: Rows = Rows("INSERT INTO outbox (id, topic, type, aggregate, sequence, time, trace, payload) VALUES", "");
const REPLY: &str = "UPDATE idempotency_keys SET state = $4, reply = $5
    WHERE principal = $1 AND method = $2 AND request_id = $3";

/// The same for any number of rows, whose columns are the parameters.
const ALL_HISTORY: &str = "INSERT INTO history (aggregate, sequence, from_state, to_state, time, detail)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bytea[])";
const ALL_OUTBOX: &str = "INSERT INTO outbox (id, topic, type, aggregate, sequence, time, trace, payload)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bytea[])";
const ALL_REPLIES: &str = "UPDATE idempotency_keys SET state = answered.state, reply = answered.reply
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[])
        AS answered (principal, method, request_id, state, reply)
    WHERE idempotency_keys.principal = answered.principal AND idempotency_keys.method = answered.method
        AND idempotency_keys.request_id = answered.request_id";

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

    /// Few statements, with their parameters.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = (Cow<'static, str>, Vec<Bind>)> {
        let changes = HISTORY.pieces(self.changes.into_iter().map(Step::binds).collect());
        let facts = OUTBOX.pieces(self.facts.into_iter().map(Outgoing::binds).collect());
        let replies = self.replies.into_iter().map(|reply| (REPLY.into(), reply.binds()));
        changes.into_iter().chain(facts).map(|(sql, binds)| (sql.into(), binds)).chain(replies)
    }

    /// Whether there are so few rows that a statement of their own shape is worth preparing.
    pub(super) fn is_small(&self) -> bool {
        self.changes.len() <= 2 && self.facts.len() <= 3 && self.replies.len() <= 1
    }

    /// All rows in one statement, with its parameters. PostgreSQL plans and runs this faster than that of [`together`].
    pub(super) fn into_one(self) -> (String, Vec<Bind>) {
        joined(self.into_pieces())
    }
}

/// All rows of several units in one statement, with its parameters.
pub(super) fn together<'a>(units: impl Iterator<Item = &'a Pending> + Clone) -> (String, Vec<Columns>) {
    fn texts<'a>(values: impl Iterator<Item = &'a String>) -> Columns {
        Columns::Texts(values.cloned().collect())
    }
    let changes = || units.clone().flat_map(|unit| &unit.changes);
    let facts = || units.clone().flat_map(|unit| &unit.facts);
    let replies = || units.clone().flat_map(|unit| &unit.replies);
    let mut parts = Vec::new();
    if changes().next().is_some() {
        let columns = vec![
            texts(changes().map(|step| &step.aggregate)),
            Columns::Ints(changes().map(|step| step.sequence).collect()),
            texts(changes().map(|step| &step.from)),
            texts(changes().map(|step| &step.to)),
            Columns::Ints(changes().map(|step| step.time.micros()).collect()),
            Columns::Bytes(changes().map(|step| step.detail.clone()).collect()),
        ];
        parts.push((ALL_HISTORY.into(), columns));
    }
    if facts().next().is_some() {
        let columns = vec![
            texts(facts().map(|fact| &fact.id)),
            texts(facts().map(|fact| &fact.topic)),
            texts(facts().map(|fact| &fact.kind)),
            texts(facts().map(|fact| &fact.aggregate)),
            Columns::Ints(facts().map(|fact| fact.sequence).collect()),
            Columns::Ints(facts().map(|fact| fact.time.micros()).collect()),
            texts(facts().map(|fact| &fact.trace)),
            Columns::Bytes(facts().map(|fact| fact.payload.clone()).collect()),
        ];
        parts.push((ALL_OUTBOX.into(), columns));
    }
    if replies().next().is_some() {
        let columns = vec![
            texts(replies().map(|reply| &reply.key.principal)),
            texts(replies().map(|reply| &reply.key.method)),
            texts(replies().map(|reply| &reply.key.request_id)),
            Columns::Texts(replies().map(|reply| reply.state.as_str().to_owned()).collect()),
            Columns::Bytes(replies().map(|reply| reply.bytes.clone()).collect()),
        ];
        parts.push((ALL_REPLIES.into(), columns));
    }
    joined(parts.into_iter())
}

/// Several statements as one, with the parameters of all.
fn joined<P>(statements: impl Iterator<Item = (Cow<'static, str>, Vec<P>)>) -> (String, Vec<P>) {
    let (mut sql, mut parameters) = (String::new(), Vec::new());
    let mut statements = statements.enumerate().peekable();
    while let Some((index, (statement, mut values))) = statements.next() {
        let last = statements.peek().is_none();
        if !last {
            sql.push_str(if index == 0 { "WITH " } else { ", " });
            sql.push_str(&format!("part{index} AS ("));
        } else if index > 0 {
            sql.push(' ');
        }
        push_renumbered(&mut sql, &statement, parameters.len());
        if !last {
            sql.push(')');
        }
        parameters.append(&mut values);
    }
    (sql, parameters)
}

impl Step {
    fn binds(self) -> Vec<Bind> {
        let Self { aggregate, sequence, from, to, time, detail } = self;
        vec![aggregate.into(), sequence.into(), from.into(), to.into(), time.into(), detail.into()]
    }
}

impl Outgoing {
    fn binds(self) -> Vec<Bind> {
        let Self { id, topic, kind, aggregate, sequence, time, trace, payload } = self;
        let head = [id.into(), topic.into(), kind.into(), aggregate.into()];
        head.into_iter().chain([sequence.into(), time.into(), trace.into(), payload.into()]).collect()
    }
}

impl Reply {
    fn binds(self) -> Vec<Bind> {
        let Self { key, state, bytes } = self;
        let [principal, method, request_id] = key.binds();
        vec![principal, method, request_id, state.as_str().into(), bytes.into()]
    }
}

/// Appends a statement of ours, its parameters counted from `before` on.
fn push_renumbered(sql: &mut String, statement: &str, before: usize) {
    let mut pieces = statement.split('$');
    sql.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = piece.split_at(digits);
        let number = number.parse::<usize>().unwrap_or_default() + before;
        sql.push_str(&format!("${number}{rest}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_on_however_many_there_are() {
        let mut sql = String::new();
        push_renumbered(&mut sql, "VALUES ($1, $2), ($10, $11) ON CONFLICT", 6);
        assert_eq!(sql, "VALUES ($7, $8), ($16, $17) ON CONFLICT");
    }
}
