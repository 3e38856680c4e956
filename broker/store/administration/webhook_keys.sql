-- name: valid
-- The keys that sign now, the newest first.
SELECT * FROM webhook_keys WHERE valid_until IS NULL OR valid_until > now() ORDER BY id DESC;

-- name: add
-- Add the newest key, unless there is one (of two processes that make the first key, one wins).
INSERT INTO webhook_keys (public_key, private_key) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: lock
-- Let one rotation after the other begin; readers are not held up.
LOCK TABLE webhook_keys IN EXCLUSIVE MODE;

-- name: retire
-- Let the newest key sign for $1 seconds more, and the one before it no longer.
UPDATE webhook_keys SET valid_until = CASE WHEN valid_until IS NULL THEN now() + make_interval(secs => $1) ELSE now() END
WHERE valid_until IS NULL OR valid_until > now();
