-- What amounts may be counted in.
CREATE TABLE units (
    code  TEXT   NOT NULL PRIMARY KEY,
    kind  TEXT   NOT NULL CHECK (kind IN ('FIAT', 'ASSET')),
    scale BIGINT NOT NULL CHECK (scale BETWEEN 0 AND 8)
);

CREATE TABLE categories (
    name  TEXT NOT NULL PRIMARY KEY,
    title TEXT NOT NULL
);

CREATE TABLE products (
    id          TEXT   NOT NULL PRIMARY KEY,
    unit        TEXT   NOT NULL UNIQUE REFERENCES units (code),
    name        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    category    TEXT   NOT NULL REFERENCES categories (name),
    -- Unit, name and description as lower-case words, each after one blank.
    words       TEXT   NOT NULL,
    create_time BIGINT NOT NULL
);

CREATE INDEX products_category ON products (category, unit);
