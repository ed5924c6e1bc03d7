-- Whether a service asked for a refund, and not a person. Unknown for what was made before.
ALTER TABLE refunds ADD COLUMN automatic BIGINT;
