CREATE TABLE locations (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL UNIQUE,
    rank        BIGINT NOT NULL,
    active      BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    create_time BIGINT NOT NULL
);

-- How many pieces of a variant a location has. The id is derived from the two.
CREATE TABLE stock_items (
    id            TEXT   NOT NULL PRIMARY KEY,
    variant_id    TEXT   NOT NULL,
    location_id   TEXT   NOT NULL REFERENCES locations (id),
    on_hand       BIGINT NOT NULL,
    reserved      BIGINT NOT NULL CONSTRAINT stock_items_reserved CHECK (reserved >= 0),
    safety_stock  BIGINT NOT NULL,
    low_threshold BIGINT NOT NULL,
    -- The numbers of the last movement and of the last fact.
    movements     BIGINT NOT NULL,
    facts         BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    create_time   BIGINT NOT NULL,
    update_time   BIGINT NOT NULL,
    CONSTRAINT stock_items_not_oversold CHECK (reserved <= on_hand)
);

CREATE INDEX stock_items_by_variant ON stock_items (variant_id);
CREATE INDEX stock_items_by_location ON stock_items (location_id, id);

-- What came and what went. Never changed, never deleted.
CREATE TABLE stock_movements (
    stock_item_id TEXT   NOT NULL,
    sequence      BIGINT NOT NULL,
    kind          TEXT   NOT NULL,
    quantity      BIGINT NOT NULL,
    on_hand       BIGINT NOT NULL,
    reference     TEXT   NOT NULL,
    create_time   BIGINT NOT NULL,
    PRIMARY KEY (stock_item_id, sequence)
);

-- Pieces that are set aside. `content` is what was taken from where and what was shipped of it: one row a reservation.
CREATE TABLE reservations (
    id          TEXT   NOT NULL PRIMARY KEY,
    reference   TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    -- NULL once the reservation is pinned.
    expire_time BIGINT,
    content     BYTEA  NOT NULL,
    facts       BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);

CREATE INDEX reservations_due ON reservations (expire_time) WHERE state = 'HELD';
CREATE INDEX reservations_by_time ON reservations (create_time, id);
CREATE INDEX reservations_by_state ON reservations (state, create_time, id);
