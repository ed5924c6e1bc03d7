-- A hold says what it is for, how much of it was moved, and when it ends by itself. One without an owner was voided
-- before it was made, and keeps its id from being made afterwards.
ALTER TABLE holds ADD COLUMN reference TEXT NOT NULL DEFAULT '';
ALTER TABLE holds ADD COLUMN posted BIGINT NOT NULL DEFAULT 0
    CONSTRAINT holds_posted CHECK (posted >= 0 AND posted <= atoms);
ALTER TABLE holds ADD COLUMN expire_time BIGINT;

-- Which hold a transaction moved, and the SHA-256 of the request that gave it its id.
ALTER TABLE transactions ADD COLUMN hold_id TEXT;
ALTER TABLE transactions ADD COLUMN fingerprint BYTEA;

UPDATE holds SET posted = CASE WHEN state = 'POSTED' THEN atoms ELSE 0 END,
    reference = COALESCE((SELECT withdrawals.id FROM withdrawals WHERE withdrawals.hold_id = holds.id), '');
UPDATE transactions SET hold_id =
    (SELECT withdrawals.hold_id FROM withdrawals WHERE withdrawals.id = transactions.reference)
    WHERE kind = 'withdrawal';

CREATE INDEX holds_by_time ON holds (create_time, id);
CREATE INDEX holds_by_state ON holds (state, create_time, id);
CREATE INDEX holds_by_expiry ON holds (expire_time) WHERE state = 'HELD';
