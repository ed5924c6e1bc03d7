-- Goods beside assets: one table of products, so that one list and one search cover both.
CREATE TABLE products_with_goods (
    id          TEXT   NOT NULL PRIMARY KEY,
    kind        TEXT   NOT NULL CHECK (kind IN ('ASSET', 'PHYSICAL_GOOD', 'DIGITAL_GOOD')),
    -- What an asset is counted in. A good is sold by the piece.
    unit        TEXT   UNIQUE REFERENCES units (code),
    name        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    category    TEXT   NOT NULL REFERENCES categories (name),
    tax_class   TEXT   CHECK (tax_class IN ('STANDARD', 'REDUCED', 'EXEMPT')),
    state       TEXT   NOT NULL CHECK (state IN ('ACTIVE', 'ARCHIVED')),
    -- Counts the changes of the product and of its variants.
    version     BIGINT NOT NULL,
    -- What a query finds it by: lower-case words, each after one blank.
    words       TEXT   NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    CHECK ((kind = 'ASSET') = (unit IS NOT NULL)),
    CHECK ((kind = 'ASSET') = (tax_class IS NULL))
);

INSERT INTO products_with_goods
    (id, kind, unit, name, description, category, state, version, words, create_time, update_time)
SELECT id, 'ASSET', unit, name, description, category, 'ACTIVE', 1, words, create_time, create_time FROM products;

DROP TABLE products;

ALTER TABLE products_with_goods RENAME TO products;

CREATE INDEX products_name ON products (name, id);
CREATE INDEX products_category_name ON products (category, name, id);
CREATE INDEX products_kind_name ON products (kind, name, id);

-- What is kept in stock, put into carts and shipped.
CREATE TABLE variants (
    id         TEXT   NOT NULL PRIMARY KEY,
    product_id TEXT   NOT NULL REFERENCES products (id),
    -- 1, 2, 3, … within the product: the order in which they are shown.
    position   BIGINT NOT NULL,
    sku        TEXT   NOT NULL UNIQUE,
    title      TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('ACTIVE', 'ARCHIVED')),
    UNIQUE (product_id, position)
);

-- What one piece costs from a moment on, until a later row of the same currency takes over.
CREATE TABLE list_prices (
    variant_id TEXT   NOT NULL REFERENCES variants (id),
    currency   TEXT   NOT NULL REFERENCES units (code),
    start_time BIGINT NOT NULL,
    atoms      BIGINT NOT NULL CHECK (atoms > 0),
    PRIMARY KEY (variant_id, currency, start_time)
);

CREATE TABLE promotions (
    id           TEXT   NOT NULL PRIMARY KEY,
    title        TEXT   NOT NULL,
    discount_bps BIGINT NOT NULL CHECK (discount_bps BETWEEN 1 AND 10000),
    -- Without a category it is for every good, without a code it applies by itself.
    category     TEXT   REFERENCES categories (name),
    code         TEXT,
    start_time   BIGINT NOT NULL,
    end_time     BIGINT,
    create_time  BIGINT NOT NULL
);

CREATE INDEX promotions_create_time ON promotions (create_time, id);
CREATE INDEX promotions_end_time ON promotions (end_time);
