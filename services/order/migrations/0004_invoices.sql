-- The last number of each year. The row is the lock over the numbers of its year, which have no gap.
CREATE TABLE invoice_numbers (
    year BIGINT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);

-- What was charged for a shipment. Never changed, never deleted.
CREATE TABLE invoices (
    id          TEXT   NOT NULL PRIMARY KEY,
    number      TEXT   NOT NULL UNIQUE,
    order_id    TEXT   NOT NULL,
    shipment_id TEXT   NOT NULL UNIQUE,
    owner       TEXT   NOT NULL,
    -- An encoded agora.order.v1.Invoice.
    content     BYTEA  NOT NULL
);

CREATE INDEX invoices_by_owner ON invoices (owner, id);
CREATE INDEX invoices_by_order ON invoices (order_id, id);

-- 0 while a shipment waits for its invoice, 1 once it is written, 2 if it cannot be; then the log says why.
ALTER TABLE shipments ADD COLUMN invoiced BIGINT NOT NULL DEFAULT 0;

CREATE INDEX shipments_to_invoice ON shipments (update_time)
    WHERE invoiced = 0 AND state IN ('SHIPPED', 'DELIVERED');
