-- Money for orders. Figures are atoms: whole numbers of the smallest part of the unit, which has `scale` decimals.
CREATE TABLE payments (
    id          TEXT   NOT NULL PRIMARY KEY,
    order_id    TEXT   NOT NULL,
    owner       TEXT   NOT NULL,
    method_id   TEXT,
    -- Empty for what was voided before it was asked for.
    provider    TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    unit        TEXT   NOT NULL,
    scale       BIGINT NOT NULL,
    amount      BIGINT NOT NULL,
    captured    BIGINT NOT NULL,
    -- What a provider was asked to take, and has not answered yet.
    capturing   BIGINT NOT NULL,
    -- What was given back, or is being given back.
    refunded    BIGINT NOT NULL,
    void_asked  BIGINT NOT NULL,
    -- Whether the provider has to let go of something: NONE, DUE, DONE.
    release     TEXT   NOT NULL,
    reference   TEXT,
    -- Why it was refused: an encoded google.rpc.Status.
    refusal     BYTEA,
    action_url  TEXT,
    expire_time BIGINT,
    -- The number of the last change, and of the last fact.
    sequence    BIGINT NOT NULL,
    facts       BIGINT NOT NULL,
    -- When somebody has to look after it.
    due_time    BIGINT,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    CONSTRAINT payments_captured CHECK (captured >= 0 AND capturing >= 0 AND captured + capturing <= amount),
    CONSTRAINT payments_refunded CHECK (refunded >= 0 AND refunded <= captured)
);

CREATE INDEX payments_by_owner ON payments (owner, create_time, id);
CREATE INDEX payments_by_order ON payments (order_id);
CREATE INDEX payments_by_time ON payments (create_time, id);
CREATE INDEX payments_due ON payments (due_time) WHERE due_time IS NOT NULL;

-- What was taken of a payment, a row per shipment: PROCESSING, SUCCEEDED or FAILED.
CREATE TABLE captures (
    payment_id  TEXT   NOT NULL,
    shipment_id TEXT   NOT NULL,
    -- How much was asked for; nothing for everything that was left.
    asked       BIGINT,
    atoms       BIGINT NOT NULL CONSTRAINT captures_atoms CHECK (atoms > 0),
    last        BIGINT NOT NULL,
    state       TEXT   NOT NULL,
    refusal     BYTEA,
    due_time    BIGINT,
    PRIMARY KEY (payment_id, shipment_id)
);

CREATE INDEX captures_due ON captures (due_time) WHERE due_time IS NOT NULL;

CREATE TABLE refunds (
    id          TEXT   NOT NULL PRIMARY KEY,
    payment_id  TEXT   NOT NULL,
    order_id    TEXT   NOT NULL,
    owner       TEXT   NOT NULL,
    unit        TEXT   NOT NULL,
    scale       BIGINT NOT NULL,
    atoms       BIGINT NOT NULL CONSTRAINT refunds_atoms CHECK (atoms > 0),
    state       TEXT   NOT NULL,
    reference   TEXT   NOT NULL,
    refusal     BYTEA,
    sequence    BIGINT NOT NULL,
    due_time    BIGINT,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);

CREATE INDEX refunds_by_payment ON refunds (payment_id);
CREATE INDEX refunds_by_owner ON refunds (owner, create_time, id);
CREATE INDEX refunds_by_time ON refunds (create_time, id);
CREATE INDEX refunds_due ON refunds (due_time) WHERE due_time IS NOT NULL;

-- Cards, without what would let others pay with them.
CREATE TABLE payment_methods (
    id           TEXT   NOT NULL PRIMARY KEY,
    owner        TEXT   NOT NULL,
    provider     TEXT   NOT NULL,
    token        TEXT   NOT NULL,
    brand        TEXT   NOT NULL,
    last_four    TEXT   NOT NULL,
    expire_month BIGINT NOT NULL,
    expire_year  BIGINT NOT NULL,
    create_time  BIGINT NOT NULL,
    -- A removed card stays for the payments that are under way with it.
    delete_time  BIGINT,
    -- When the provider has to be told to forget it.
    due_time     BIGINT
);

CREATE INDEX payment_methods_by_owner ON payment_methods (owner, create_time);
CREATE INDEX payment_methods_due ON payment_methods (due_time) WHERE due_time IS NOT NULL;

-- What providers have told, so that it has its effect once.
CREATE TABLE provider_events (
    provider    TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (provider, id)
);

CREATE INDEX provider_events_by_time ON provider_events (create_time);

-- From here on: what the simulator keeps, as the card provider that it stands for would in its own house.
CREATE TABLE simulator_cards (
    token       TEXT   NOT NULL PRIMARY KEY,
    behavior    TEXT   NOT NULL,
    forget_time BIGINT
);

CREATE TABLE simulator_charges (
    key         TEXT   NOT NULL PRIMARY KEY,
    id          TEXT   NOT NULL UNIQUE,
    behavior    TEXT   NOT NULL,
    unit        TEXT   NOT NULL,
    amount      TEXT   NOT NULL,
    atoms       BIGINT NOT NULL,
    captured    BIGINT NOT NULL,
    refunded    BIGINT NOT NULL,
    -- PENDING, REQUIRES_ACTION, AUTHORIZED, DECLINED, VOIDED.
    state       TEXT   NOT NULL,
    -- When a pending one is authorized.
    ready_time  BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    CONSTRAINT simulator_charges_captured CHECK (captured >= 0 AND captured <= atoms),
    CONSTRAINT simulator_charges_refunded CHECK (refunded >= 0 AND refunded <= captured)
);

-- Captures and refunds, by the key under which they were asked for.
CREATE TABLE simulator_moves (
    key    TEXT   NOT NULL PRIMARY KEY,
    charge TEXT   NOT NULL,
    kind   TEXT   NOT NULL,
    atoms  BIGINT NOT NULL
);

-- How often something was asked for that fails at first.
CREATE TABLE simulator_attempts (
    key   TEXT   NOT NULL PRIMARY KEY,
    count BIGINT NOT NULL
);

-- Callbacks that are to be sent.
CREATE TABLE simulator_callbacks (
    id        TEXT   NOT NULL PRIMARY KEY,
    payload   TEXT   NOT NULL,
    copies    BIGINT NOT NULL,
    send_time BIGINT NOT NULL
);

CREATE INDEX simulator_callbacks_due ON simulator_callbacks (send_time);
