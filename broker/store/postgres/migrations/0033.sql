-- Deliveries that wait for an event have no moment at which they are due ------------------------------------------------

-- Looking for those of one subscription, PostgreSQL read all that have none, if it took them for few.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'parked' AND due_at IS NOT NULL;
