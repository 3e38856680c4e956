-- name: valid
-- The keys that sign now, newest first.
SELECT * FROM webhook_keys WHERE valid_until IS NULL OR valid_until > now() ORDER BY id DESC;

-- name: add
-- Add the newest key, unless there is one: of two processes that make the first key, one wins.
INSERT INTO webhook_keys (public_key, private_key) VALUES (:public_key, :private_key) ON CONFLICT DO NOTHING;

-- name: lock
-- One rotation at a time; readers do not wait.
LOCK TABLE webhook_keys IN EXCLUSIVE MODE;

-- name: retire
-- Let the newest key sign for `grace` more seconds, unless it is among those that are :lost, and stop the one before it.
UPDATE webhook_keys
SET valid_until = CASE
    WHEN valid_until IS NULL AND id <> ALL (:lost::bigint[]) THEN now() + make_interval(secs => :grace) ELSE now()
END
WHERE valid_until IS NULL OR valid_until > now();
