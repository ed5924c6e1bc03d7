-- The next offset of each topic. The row is locked until its appender has committed, so offsets have no gaps and become
-- visible in order.
CREATE TABLE log_topics (
    topic TEXT NOT NULL PRIMARY KEY,
    next_offset BIGINT NOT NULL
);

CREATE TABLE log_records (
    topic TEXT NOT NULL,
    log_offset BIGINT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    aggregate TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    time BIGINT NOT NULL,
    trace TEXT NOT NULL,
    payload BYTEA NOT NULL,
    PRIMARY KEY (topic, log_offset)
);
CREATE UNIQUE INDEX log_records_id ON log_records (topic, id);

-- Who may append for a database, until when. The fence grows with every change of holder.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
