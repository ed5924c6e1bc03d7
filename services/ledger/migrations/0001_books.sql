-- Whoever has accounts. The row is the lock over all of them, and counts their entries.
CREATE TABLE owners (
    owner    TEXT   NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL CONSTRAINT owners_sequence CHECK (sequence >= 0)
);

-- What an owner has of a unit, in atoms. Accounts of the house are not limited: they may owe. They are kept in parts
-- (`house/trading#07`), each of which is an owner here.
-- `cost` and `realized` belong to assets and count the atoms of the house's currency.
CREATE TABLE accounts (
    owner    TEXT   NOT NULL,
    unit     TEXT   NOT NULL,
    posted   BIGINT NOT NULL,
    held     BIGINT NOT NULL CONSTRAINT accounts_held CHECK (held >= 0),
    limited  BIGINT NOT NULL,
    cost     BIGINT NOT NULL,
    realized BIGINT NOT NULL,
    version  BIGINT NOT NULL,
    PRIMARY KEY (owner, unit),
    CONSTRAINT accounts_no_overdraft CHECK (limited = 0 OR posted - held >= 0)
);

CREATE INDEX accounts_by_unit ON accounts (unit);

CREATE TABLE transactions (
    id          TEXT   NOT NULL PRIMARY KEY,
    kind        TEXT   NOT NULL,
    reference   TEXT   NOT NULL,
    create_time BIGINT NOT NULL
);

-- What a transaction did to an account. Never changed, never deleted.
CREATE TABLE entries (
    owner          TEXT   NOT NULL,
    sequence       BIGINT NOT NULL,
    transaction_id TEXT   NOT NULL,
    position       BIGINT NOT NULL,
    unit           TEXT   NOT NULL,
    atoms          BIGINT NOT NULL,
    balance        BIGINT NOT NULL,
    PRIMARY KEY (owner, sequence)
);

CREATE INDEX entries_by_transaction ON entries (transaction_id);

-- What is set aside of an account until it is posted or voided.
CREATE TABLE holds (
    id          TEXT   NOT NULL PRIMARY KEY,
    owner       TEXT   NOT NULL,
    unit        TEXT   NOT NULL,
    atoms       BIGINT NOT NULL CONSTRAINT holds_atoms CHECK (atoms > 0),
    state       TEXT   NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);

CREATE INDEX holds_by_account ON holds (owner, unit);

CREATE TABLE withdrawals (
    id          TEXT   NOT NULL PRIMARY KEY,
    owner       TEXT   NOT NULL,
    unit        TEXT   NOT NULL,
    atoms       BIGINT NOT NULL,
    hold_id     TEXT   NOT NULL UNIQUE,
    state       TEXT   NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);

CREATE INDEX withdrawals_by_owner ON withdrawals (owner, id);
CREATE INDEX withdrawals_by_state ON withdrawals (state, create_time);
