-- name: read
-- Into how many shards the queues are split that are.
SELECT queue, published, consumed FROM shards;

-- name: write
-- Split the queue as it says, and tell all processes.
WITH written AS (
    INSERT INTO shards (queue, published, consumed) VALUES (:queue, :published::int, :consumed::int)
    ON CONFLICT (queue) DO UPDATE
    SET published = EXCLUDED.published, consumed = EXCLUDED.consumed, changed_at = now()
    RETURNING queue
)
SELECT pg_notify('shards_changed', queue) FROM written;

-- name: try_lock
-- Lock the numbers of shards against other commands, until the session ends; return whether no other changes them.
SELECT pg_try_advisory_lock({locks.SHARDS});
