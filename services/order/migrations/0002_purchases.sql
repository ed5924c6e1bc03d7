-- An order is a trade or a purchase. SQLite cannot make a column nullable, so the table is written anew.
CREATE TABLE orders_of_both (
    id                TEXT   NOT NULL PRIMARY KEY,
    owner             TEXT   NOT NULL,
    state             TEXT   NOT NULL,
    -- The number of the last change, and of the last fact.
    sequence          BIGINT NOT NULL,
    facts             BIGINT NOT NULL,
    -- A trade: amounts are the words of the quote.
    side              TEXT,
    unit              TEXT,
    quantity          TEXT,
    price             TEXT,
    currency          TEXT,
    notional          TEXT,
    fee               TEXT,
    total             TEXT,
    transaction_id    TEXT,
    -- A purchase: lines, amounts, quantities and the address, as an encoded agora.order.v1.Purchase.
    purchase          BYTEA,
    -- A quote serves one order.
    quote_id          TEXT   UNIQUE,
    rejection_reason  TEXT,
    rejection_message TEXT,
    create_time       BIGINT NOT NULL,
    update_time       BIGINT NOT NULL,
    -- When the time to return goods is over.
    close_time        BIGINT,
    -- The idempotency key under which the reply to a trade is awaited.
    request_key       TEXT,
    -- What is under way: one thing at a time. The task is the shipment or return that it is for.
    saga_state        TEXT   NOT NULL,
    saga_step         TEXT   NOT NULL,
    saga_task         TEXT,
    saga_attempts     BIGINT NOT NULL,
    saga_deadline     BIGINT,
    saga_reason       TEXT,
    saga_message      TEXT,
    -- Until when whoever carries it out is left alone, or when it is tried again. NULL when there is nothing to do.
    lease_until       BIGINT
);

INSERT INTO orders_of_both (id, owner, state, sequence, facts, side, unit, quantity, price, currency, notional, fee,
        total, transaction_id, quote_id, rejection_reason, rejection_message, create_time, update_time, request_key,
        saga_state, saga_step, saga_attempts, lease_until)
    SELECT id, owner, state, sequence, facts, side, unit, quantity, price, currency, notional, fee,
        total, transaction_id, quote_id, rejection_reason, rejection_message, create_time, update_time, request_key,
        CASE state WHEN 'PENDING' THEN 'RUNNING' WHEN 'FULFILLED' THEN 'SUCCEEDED' ELSE 'COMPENSATED' END,
        CASE state WHEN 'PENDING' THEN 'settle' ELSE '' END, 0,
        CASE state WHEN 'PENDING' THEN lease_until END
    FROM orders;

DROP TABLE orders;
ALTER TABLE orders_of_both RENAME TO orders;

CREATE INDEX orders_by_owner ON orders (owner, id);
CREATE INDEX orders_due ON orders (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX orders_open ON orders (id) WHERE saga_state IN ('RUNNING', 'COMPENSATING', 'STUCK');
CREATE INDEX orders_to_ship ON orders (update_time) WHERE state IN ('CONFIRMED', 'PARTIALLY_FULFILLED');
CREATE INDEX orders_to_close ON orders (close_time) WHERE close_time IS NOT NULL;

-- Goods that leave together.
CREATE TABLE shipments (
    id          TEXT   NOT NULL PRIMARY KEY,
    order_id    TEXT   NOT NULL,
    owner       TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    -- An encoded agora.order.v1.Shipment.
    content     BYTEA  NOT NULL,
    update_time BIGINT NOT NULL,
    -- The idempotency key under which the reply is awaited.
    request_key TEXT
);

CREATE INDEX shipments_by_order ON shipments (order_id, id);
CREATE INDEX shipments_under_way ON shipments (update_time) WHERE state = 'SHIPPED';

-- Goods that come back.
CREATE TABLE returns (
    id          TEXT   NOT NULL PRIMARY KEY,
    order_id    TEXT   NOT NULL,
    owner       TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    -- An encoded agora.order.v1.Return.
    content     BYTEA  NOT NULL,
    -- 1 if the goods go back into stock.
    restock     BIGINT NOT NULL,
    request_key TEXT
);

CREATE INDEX returns_by_order ON returns (order_id, id);
