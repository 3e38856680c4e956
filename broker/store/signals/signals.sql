-- name: number
-- Number the throws of one batch, in order. A throw without an idempotency key has nulls instead.
-- The lock makes ids ascend with time over all gateways; no ids are reserved ahead.
-- (`given` hides the lengths of the arrays: the planner would use them, so that PostgreSQL would plan the statement for every batch
-- again, which takes longer than to execute it.)
WITH given AS MATERIALIZED (
    SELECT :principals::text[] AS principals, :keys::text[] AS keys, :body_hashes::bytea[] AS body_hashes
), lock AS MATERIALIZED (
    SELECT pg_advisory_xact_lock({locks.NUMBERING})
), asked AS MATERIALIZED (
    SELECT a.*
    FROM lock, given g, unnest(g.principals, g.keys, g.body_hashes)
        WITH ORDINALITY AS a (principal, key, body_hash, position)
    ORDER BY a.position
), numbered AS MATERIALIZED (
    SELECT asked.*, nextval('signal_ids') AS id, date_trunc('milliseconds', clock_timestamp()) AS created_at
    FROM asked
), claimed AS (
    INSERT INTO idempotency_keys AS known (principal, key, body_hash, signal_id, created_at)
    SELECT principal, key, body_hash, id, created_at FROM numbered WHERE key IS NOT NULL
    ON CONFLICT (principal, key) DO UPDATE SET (body_hash, signal_id, created_at) = (
        SELECT f.* FROM (SELECT
            CASE WHEN known.created_at < EXCLUDED.created_at - interval '24 hours' THEN EXCLUDED.body_hash ELSE known.body_hash END,
            CASE WHEN known.created_at < EXCLUDED.created_at - interval '24 hours' THEN EXCLUDED.signal_id ELSE known.signal_id END,
            CASE WHEN known.created_at < EXCLUDED.created_at - interval '24 hours' THEN EXCLUDED.created_at ELSE known.created_at END
        ) AS f
    )
    RETURNING principal, key, body_hash, signal_id, created_at
)
SELECT n.id, n.created_at,
       c.signal_id AS first_id, c.created_at AS first_created_at, c.body_hash AS first_body_hash
FROM numbered n LEFT JOIN claimed c USING (principal, key)
ORDER BY n.position;

-- name: waiting
-- For each of the signals, which were thrown to executions, the active subscriptions of its execution, as a JSON list in the
-- order of their creation. Those that the signal itself has consumed are among them: it may be the repeat of a throw.
SELECT (
    SELECT json_agg(json_build_array(name, belongs_to(tenant_id, owner_tenants)) ORDER BY id) FROM (
        SELECT s.id, s.name, s.tenant_id, s.owner_tenants FROM subscriptions s
        WHERE s.execution_id = t.execution_id AND s.until IS NULL AND s.consumed_by IS NULL AND s.since < t.signal_id
        UNION ALL
        SELECT s.id, s.name, s.tenant_id, s.owner_tenants FROM subscriptions s
        WHERE s.consumed_by = t.signal_id AND s.execution_id = t.execution_id
    ) AS found
) AS waiting
FROM unnest(:signal_ids::bigint[], :execution_ids::text[]) WITH ORDINALITY AS t (signal_id, execution_id, position)
ORDER BY t.position;

-- name: take_scheduled
-- Take scheduled signals that are due, after the first :offset, to publish them to the taps; several schedulers may do this at the same time. After
-- `rescue_after` seconds, a signal that is still scheduled is taken again. The last one is that whose payload fills
-- `max_bytes`.
WITH due AS MATERIALIZED (
    SELECT id, due_at, octet_length(payload) AS size FROM signals
    WHERE state = 'scheduled' AND due_at <= now()
    ORDER BY due_at LIMIT :limit OFFSET :offset FOR UPDATE SKIP LOCKED
), sized AS (
    SELECT id, sum(size) OVER (ORDER BY due_at, id) - size AS before FROM due
), taken AS (
    UPDATE signals g SET due_at = now() + make_interval(secs => :rescue_after)
    FROM sized WHERE g.id = sized.id AND sized.before < :max_bytes::bigint
    RETURNING g.*
)
SELECT *, expires_at IS NOT NULL AND expires_at <= now() AS expired FROM taken ORDER BY deliver_at, id;

-- name: end_schedule
-- The taps have these signals.
UPDATE signals SET state = 'recorded', due_at = NULL WHERE id = ANY (:signal_ids::bigint[]) AND state = 'scheduled';

-- name: lock_scheduled
-- Lock a scheduled signal against its release, unless it is released already.
SELECT id FROM signals
WHERE id = :signal_id AND state = 'scheduled' AND due_at = deliver_at AND deliver_at > now() FOR UPDATE;

-- name: lock_recording
-- Lock a wide signal against the recording of further chunks.
SELECT FROM wide_recordings WHERE signal_id = :signal_id FOR UPDATE;

-- name: lock_deliveries
-- Lock the deliveries of a signal against their release; return for each whether it is released already.
SELECT subscription_id, state = 'pending' OR attempts > 0 AS released FROM deliveries
WHERE signal_id = :signal_id ORDER BY subscription_id FOR UPDATE;

-- name: cancel_signal
-- Cancel a signal and its deliveries; the `once` subscriptions that it consumed wait for another signal. If it is wide, no
-- further chunks are recorded.
WITH cancelled AS (
    UPDATE signals SET state = 'cancelled', due_at = NULL WHERE id = :signal_id
), ended AS (
    UPDATE wide_recordings SET finished = true WHERE signal_id = :signal_id
), released AS (
    UPDATE deliveries SET state = 'cancelled', reason = 'the signal was cancelled', due_at = NULL, finished_at = now()
    WHERE signal_id = :signal_id AND state IN ('parked', 'dead')
    RETURNING subscription_id
)
UPDATE subscriptions s SET consumed_by = NULL
FROM released r WHERE s.id = r.subscription_id AND s.consumed_by = :signal_id;

-- name: get
SELECT * FROM signals WHERE id = :signal_id;

-- name: was_numbered
SELECT :number <= last_value FROM signal_ids;

-- name: given
-- The number that was given last, and the first one that no partition covers, not even one that is ready for later.
SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END AS last,
       greatest(s.last_value, (SELECT max(next_id) FROM blocks)) AS beyond,
       clock_timestamp() AS at
FROM signal_ids s;

-- name: last_id
-- The id of the signal that was recorded last.
SELECT id FROM signals ORDER BY position DESC LIMIT 1;

-- name: forget_idempotency_keys
-- Delete up to :limit keys older than a day.
DELETE FROM idempotency_keys WHERE (principal, key) IN (
    SELECT principal, key FROM idempotency_keys
    WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED
) RETURNING principal;
