-- name: read
-- Into how many shards the queues are split that are.
SELECT queue, published, CASE WHEN suspended_until > now() THEN published ELSE consumed END AS consumed, consumed AS count
FROM shards;

-- name: write
-- Split the queue as it says, and tell all processes.
WITH written AS (
    INSERT INTO shards (queue, published, consumed) VALUES (:queue, :published::int, :consumed::int)
    ON CONFLICT (queue) DO UPDATE
    SET published = EXCLUDED.published, consumed = EXCLUDED.consumed, suspended_until = NULL, changed_at = now()
    RETURNING queue
)
SELECT pg_notify('shards_changed', queue) FROM written;

-- name: suspend
-- Suspend the consumption of the shards of the queue that get no messages, for that time, and tell all processes.
WITH written AS (
    UPDATE shards SET suspended_until = now() + :within::interval, changed_at = now() WHERE queue = :queue RETURNING queue
)
SELECT pg_notify('shards_changed', queue) FROM written;

-- name: try_lock
-- Lock the numbers of shards against other commands, until the session ends; return whether no other changes them.
SELECT pg_try_advisory_lock({locks.SHARDS});
