CREATE TABLE accounts (
    user_id    TEXT   NOT NULL PRIMARY KEY,
    roles      TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    valid_from BIGINT NOT NULL
);

CREATE TABLE sessions (
    id                TEXT   NOT NULL PRIMARY KEY,
    user_id           TEXT   NOT NULL REFERENCES accounts (user_id),
    device            TEXT   NOT NULL,
    create_time       BIGINT NOT NULL,
    refresh_time      BIGINT NOT NULL,
    expire_time       BIGINT NOT NULL,
    token_expire_time BIGINT NOT NULL,
    end_time          BIGINT
);

CREATE INDEX sessions_newest ON sessions (user_id, create_time, id);
CREATE INDEX sessions_ended ON sessions (end_time);
CREATE INDEX sessions_expired ON sessions (expire_time);

CREATE TABLE refresh_tokens (
    hash       BYTEA  NOT NULL PRIMARY KEY,
    session_id TEXT   NOT NULL REFERENCES sessions (id),
    spent_time BIGINT
);

CREATE INDEX refresh_tokens_of ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_spent ON refresh_tokens (spent_time);

CREATE TABLE signing_keys (
    kid         TEXT   NOT NULL PRIMARY KEY,
    x           TEXT   NOT NULL,
    sealed      BYTEA  NOT NULL,
    create_time BIGINT NOT NULL,
    sign_time   BIGINT NOT NULL,
    expire_time BIGINT
);

CREATE TABLE login_failures (
    account    BYTEA  NOT NULL PRIMARY KEY,
    failures   BIGINT NOT NULL,
    last_time  BIGINT NOT NULL,
    lock_until BIGINT NOT NULL
);

CREATE INDEX login_failures_old ON login_failures (last_time);
