-- A card is noted before its provider is asked to keep it: PROCESSING, READY or FAILED.
ALTER TABLE payment_methods ADD COLUMN state TEXT NOT NULL DEFAULT 'READY';
-- Why it was refused: an encoded google.rpc.Status.
ALTER TABLE payment_methods ADD COLUMN refusal BYTEA;

-- The key under which the simulator was asked to keep a card.
ALTER TABLE simulator_cards ADD COLUMN key TEXT;

CREATE UNIQUE INDEX simulator_cards_by_key ON simulator_cards (key);
