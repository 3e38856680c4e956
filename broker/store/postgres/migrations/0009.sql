-- Handlers: Python functions whose attempts wait in a queue of their app's own ----------------------------------

ALTER TABLE deliveries ADD COLUMN app text NOT NULL DEFAULT '';
COMMENT ON COLUMN deliveries.app IS 'The app of the handler that is owed it, whose queue its attempts wait in; empty: no handler is.';

-- A delivery is in one of them at a time, as it was in one index for both: pending ones are looked after queue by queue.
CREATE INDEX deliveries_pending ON deliveries (app, due_at) WHERE state = 'pending';
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'parked';

CREATE UNIQUE INDEX subscriptions_of_handlers ON subscriptions (address) WHERE kind = 'handler' AND until IS NULL;
CREATE INDEX subscriptions_by_app ON subscriptions (split_part(address, '/', 1)) WHERE kind = 'handler';
