CREATE TABLE users (
    id            TEXT   NOT NULL PRIMARY KEY,
    email         TEXT   NOT NULL UNIQUE,
    display_name  TEXT   NOT NULL,
    language      TEXT   NOT NULL,
    currency      TEXT   NOT NULL,
    password_hash TEXT   NOT NULL,
    version       BIGINT NOT NULL CHECK (version > 0),
    create_time   BIGINT NOT NULL,
    update_time   BIGINT NOT NULL
);

CREATE INDEX users_newest ON users (create_time, id);

CREATE TABLE addresses (
    id           TEXT   NOT NULL PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (id),
    recipient    TEXT   NOT NULL,
    lines        TEXT   NOT NULL,
    city         TEXT   NOT NULL,
    postal_code  TEXT   NOT NULL,
    country_code TEXT   NOT NULL,
    create_time  BIGINT NOT NULL
);

CREATE INDEX addresses_newest ON addresses (user_id, create_time, id);
