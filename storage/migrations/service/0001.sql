-- What an aggregate went through, one row a step.
CREATE TABLE history (
    aggregate TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    time BIGINT NOT NULL,
    detail BYTEA NOT NULL,
    PRIMARY KEY (aggregate, sequence)
);

-- Facts that are committed and not yet in the log.
CREATE TABLE outbox (
    aggregate TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    type TEXT NOT NULL,
    time BIGINT NOT NULL,
    trace TEXT NOT NULL,
    payload BYTEA NOT NULL,
    PRIMARY KEY (aggregate, sequence)
);

-- One row a request that may be repeated: who asked for what, and what was answered.
CREATE TABLE idempotency_keys (
    principal TEXT NOT NULL,
    method TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('IN_PROGRESS', 'ANSWERED', 'REFUSED')),
    reply BYTEA,
    time BIGINT NOT NULL,
    PRIMARY KEY (principal, method, request_id)
);
CREATE INDEX idempotency_keys_time ON idempotency_keys (time);

-- How far a consumer has followed each aggregate, and how many of its facts are parked.
CREATE TABLE inbox (
    consumer TEXT NOT NULL,
    aggregate TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    parked BIGINT NOT NULL,
    PRIMARY KEY (consumer, aggregate)
);

-- The next record that a consumer reads of a topic.
CREATE TABLE consumer_offsets (
    consumer TEXT NOT NULL,
    topic TEXT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (consumer, topic)
);

-- Facts that a consumer has put aside: POISON was refused, WAITING comes after one that is missing or refused, and
-- RELEASED is to be tried again.
CREATE TABLE dead_letters (
    consumer TEXT NOT NULL,
    aggregate TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('POISON', 'WAITING', 'RELEASED')),
    reason TEXT NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    log_offset BIGINT NOT NULL,
    type TEXT NOT NULL,
    fact_time BIGINT NOT NULL,
    trace TEXT NOT NULL,
    payload BYTEA NOT NULL,
    time BIGINT NOT NULL,
    PRIMARY KEY (consumer, aggregate, sequence)
);
CREATE INDEX dead_letters_state ON dead_letters (consumer, state);
