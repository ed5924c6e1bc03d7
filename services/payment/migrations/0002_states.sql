-- Payments are listed by their state, too: few of very many are under way.
CREATE INDEX payments_by_state ON payments (state, create_time, id);
