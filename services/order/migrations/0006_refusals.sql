-- How often the money for a shipment was refused for good: each attempt after that has another key.
ALTER TABLE shipments ADD COLUMN refusals BIGINT NOT NULL DEFAULT 0;
