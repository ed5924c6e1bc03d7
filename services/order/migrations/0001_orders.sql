-- Amounts are the words of the quote: nothing is computed with them here.
CREATE TABLE orders (
    id                TEXT   NOT NULL PRIMARY KEY,
    owner             TEXT   NOT NULL,
    state             TEXT   NOT NULL,
    -- The number of the last change, and of the last fact.
    sequence          BIGINT NOT NULL,
    facts             BIGINT NOT NULL,
    side              TEXT   NOT NULL,
    unit              TEXT   NOT NULL,
    quantity          TEXT   NOT NULL,
    price             TEXT   NOT NULL,
    currency          TEXT   NOT NULL,
    notional          TEXT   NOT NULL,
    fee               TEXT   NOT NULL,
    total             TEXT   NOT NULL,
    -- A quote serves one order.
    quote_id          TEXT   UNIQUE,
    transaction_id    TEXT,
    rejection_reason  TEXT,
    rejection_message TEXT,
    create_time       BIGINT NOT NULL,
    update_time       BIGINT NOT NULL,
    -- The idempotency key under which the reply is awaited.
    request_key       TEXT,
    -- Until when whoever carries the order out is left alone.
    lease_until       BIGINT NOT NULL
);

CREATE INDEX orders_by_owner ON orders (owner, id);
CREATE INDEX orders_pending ON orders (lease_until) WHERE state = 'PENDING';
