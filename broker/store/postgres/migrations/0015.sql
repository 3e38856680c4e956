-- Expiry of its own accord ------------------------------------------------------------------------------------------

-- Rows that are there, and those of older recorders that still run, have the default: their signals know the moment.
ALTER TABLE deliveries ADD COLUMN expires_at timestamptz DEFAULT '-infinity';
COMMENT ON COLUMN deliveries.expires_at IS
    'When the signal expires, null if it never does. -infinity: as the signal says; the scheduler looks it up.';
CREATE INDEX deliveries_expiring ON deliveries (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('pending', 'parked');

-- Reservations of `max_per_second` are given out by and by ---------------------------------------------------------

ALTER TABLE gates ADD COLUMN rate_waiting boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN gates.rate_waiting IS 'max_per_second: whether deliveries wait for their reservations.';
COMMENT ON COLUMN gates.spent_at IS 'Used by processes of version 0.1.0.';
CREATE INDEX gates_pacing ON gates (subscription_id) WHERE rate_waiting;
UPDATE deliveries SET due_at = NULL WHERE state = 'parked' AND reason = 'rate' AND due_at IS NOT NULL;
UPDATE gates SET rate_waiting = true
WHERE EXISTS (SELECT FROM subscriptions s WHERE s.id = gates.subscription_id AND s.max_per_second IS NOT NULL);

-- A target that asks for no requests gets none -------------------------------------------------------------------------

ALTER TABLE circuits ADD COLUMN spared_until timestamptz;
COMMENT ON COLUMN circuits.spared_until IS 'Until when the target asked for no requests (Retry-After); null if it did not.';
ALTER TABLE gates ADD COLUMN recalling boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN gates.recalling IS
    'Whether deliveries that are parked because of their targets are to ask for admission again at once.';
CREATE INDEX gates_recalling ON gates (subscription_id) WHERE recalling;
CREATE INDEX deliveries_recallable ON deliveries (subscription_id, signal_id)
    WHERE state = 'parked' AND reason IN ('circuit', 'throttled');
