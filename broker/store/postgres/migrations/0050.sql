-- Surplus shards are consumed again if the command that joins them is lost.
ALTER TABLE shards ADD COLUMN suspended_until timestamptz;
COMMENT ON COLUMN shards.suspended_until IS 'Until then, the consumption of those that get no messages is suspended; they may hold some.';
