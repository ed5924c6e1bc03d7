-- What people think of buying. A cart has an owner, or a guest who knows the token of which this is the SHA-256.
CREATE TABLE carts (
    id          TEXT   NOT NULL PRIMARY KEY,
    owner       TEXT   UNIQUE,
    token_hash  BYTEA  UNIQUE,
    -- Variants and quantities, as an encoded agora.order.v1.Cart.
    content     BYTEA  NOT NULL,
    version     BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    CONSTRAINT carts_whose CHECK ((owner IS NULL) <> (token_hash IS NULL))
);

CREATE INDEX carts_of_guests ON carts (update_time) WHERE token_hash IS NOT NULL;
