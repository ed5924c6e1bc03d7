//! Statements over many rows, in the two texts that the databases need.

/// A statement for many rows of parameters: `one` is run for each where a statement costs a function call (SQLite), `all`
/// takes whole columns where it costs a round trip (PostgreSQL).
#[derive(Clone, Copy)]
pub(crate) struct Each {
    pub(super) one: &'static str,
    pub(super) all: &'static str,
}

/// Appends records to the log, leaving out those that it has. Parameters are the columns of an event.
pub(crate) const APPEND: Each = Each {
    one: "INSERT INTO log_records (topic, log_offset, id, type, aggregate, sequence, time, trace, payload)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (topic, id) DO NOTHING",
    all: "INSERT INTO log_records (topic, log_offset, id, type, aggregate, sequence, time, trace, payload)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[],
            $7::bigint[], $8::text[], $9::bytea[]) ON CONFLICT (topic, id) DO NOTHING",
};

/// Removes facts from the outbox. Parameters are aggregate and sequence.
pub(crate) const REMOVE: Each = Each {
    one: "DELETE FROM outbox WHERE aggregate = $1 AND sequence = $2",
    all: "DELETE FROM outbox USING unnest($1::text[], $2::bigint[]) AS sent (aggregate, sequence)
        WHERE outbox.aggregate = sent.aggregate AND outbox.sequence = sent.sequence",
};
