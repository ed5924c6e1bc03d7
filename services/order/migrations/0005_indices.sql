-- What staff look for among the orders that have not ended, in one state, the newest first.
CREATE INDEX orders_by_state ON orders (state, id)
    WHERE state IN ('PENDING', 'CONFIRMED', 'PARTIALLY_FULFILLED', 'CANCELLING');

-- Without those that are stuck: they would be passed over again with every look.
DROP INDEX orders_to_close;
CREATE INDEX orders_to_close ON orders (close_time) WHERE close_time IS NOT NULL AND saga_state = 'SUCCEEDED';
