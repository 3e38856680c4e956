-- Surplus shards are consumed again if the command that joins them is lost.
ALTER TABLE shards ADD COLUMN left_until timestamptz;
COMMENT ON COLUMN shards.left_until IS 'Until then, those that get no messages are not consumed either; they may hold some.';
