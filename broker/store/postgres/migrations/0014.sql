-- Expiry of its own accord ------------------------------------------------------------------------------------------

-- Rows that are there, and those of older recorders that still run, have the default: their signals know the moment.
ALTER TABLE deliveries ADD COLUMN expires_at timestamptz DEFAULT '-infinity';
COMMENT ON COLUMN deliveries.expires_at IS
    'When the signal expires, null if it never does. -infinity: as the signal says; the scheduler looks it up.';
CREATE INDEX deliveries_expiring ON deliveries (expires_at)
    WHERE expires_at IS NOT NULL AND state IN ('pending', 'parked');
