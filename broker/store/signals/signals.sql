-- name: number
-- Number the signals of one batch, in order: $1 names, $2 execution ids, $3 principals, $4 idempotency keys, $5 hashes.
-- The lock makes the order of ids the order of times over all gateways; nothing is reserved ahead.
-- Who waits in an execution is told, too: for the repeat of a key, those whom the first throw reached or could reach.
WITH lock AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(7305002)
), asked AS MATERIALIZED (
    SELECT a.*
    FROM lock, unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[])
        WITH ORDINALITY AS a (name, execution_id, principal, key, body_hash, position)
    ORDER BY a.position
), numbered AS MATERIALIZED (
    SELECT asked.*, nextval('signal_ids') AS id, clock_timestamp() AS created_at FROM asked
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
       c.signal_id AS first_id, c.created_at AS first_created_at, c.body_hash AS first_body_hash,
       w.names AS execution_names, w.tenants AS execution_tenants
FROM numbered n LEFT JOIN claimed c USING (principal, key)
LEFT JOIN LATERAL (
    SELECT array_agg(name ORDER BY id) AS names, array_agg(tenant_id ORDER BY id) AS tenants
    FROM (
        SELECT s.id, s.name, s.tenant_id FROM subscriptions s
        WHERE s.execution_id = n.execution_id AND s.until IS NULL AND s.consumed_by IS NULL
          AND s.since < coalesce(c.signal_id, n.id)
        UNION ALL
        SELECT s.id, s.name, s.tenant_id FROM subscriptions s
        WHERE s.consumed_by = c.signal_id AND s.execution_id = n.execution_id
    ) AS waiting
) AS w ON n.execution_id IS NOT NULL
ORDER BY n.position;

-- name: take_scheduled
-- Take scheduled signals whose moment has come, to publish them to the taps; any number of schedulers may do this at once.
-- $1: at most so many, $2: seconds after which they are taken again, if they are still scheduled.
WITH due AS (
    SELECT id FROM signals
    WHERE state = 'scheduled' AND due_at <= now()
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE signals g SET due_at = now() + make_interval(secs => $2)
    FROM due WHERE g.id = due.id
    RETURNING g.*
)
SELECT *, expires_at IS NOT NULL AND expires_at <= now() AS expired FROM taken ORDER BY deliver_at, id;

-- name: end_schedule
-- The taps have these signals.
UPDATE signals SET state = 'recorded', due_at = NULL WHERE id = ANY ($1::bigint[]) AND state = 'scheduled';

-- name: lock_scheduled
-- Lock the signal $1 against its release, unless that has come.
SELECT id FROM signals WHERE id = $1 AND state = 'scheduled' AND due_at = deliver_at AND deliver_at > now() FOR UPDATE;

-- name: lock_deliveries
-- Lock the deliveries of the signal $1 against their release; return whether each was released already.
SELECT subscription_id, state = 'pending' OR attempts > 0 AS released FROM deliveries
WHERE signal_id = $1 ORDER BY subscription_id FOR UPDATE;

-- name: cancel_signal
-- Cancel the signal $1 and what it is owed to; the `once` subscriptions that it consumed wait for another one.
WITH cancelled AS (
    UPDATE signals SET state = 'cancelled', due_at = NULL WHERE id = $1
), let_go AS (
    UPDATE deliveries SET state = 'cancelled', reason = 'the signal was cancelled', due_at = NULL, finished_at = now()
    WHERE signal_id = $1 AND state IN ('parked', 'dead')
    RETURNING subscription_id
)
UPDATE subscriptions s SET consumed_by = NULL
FROM let_go WHERE s.id = let_go.subscription_id AND s.consumed_by = $1;

-- name: get_signal
SELECT * FROM signals WHERE id = $1;

-- name: was_numbered
SELECT $1 <= last_value FROM signal_ids;

-- name: last_id
-- The id of the signal that was recorded last.
SELECT id FROM signals ORDER BY position DESC LIMIT 1;

-- name: list_signals
-- A page of signals in the order of recording, after position $1 and with ids after $2. Null filters are no filters;
-- $6: the tenants the caller sees.
SELECT * FROM signals
WHERE position > $1
  AND ($2::bigint IS NULL OR id > $2)
  AND ($3::text IS NULL OR name = $3)
  AND ($4::text IS NULL OR tenant_id = $4)
  AND ($5::text IS NULL OR execution_id = $5)
  AND ($6::text[] IS NULL OR (
      (tenant_id IS NULL OR tenant_id = ANY ($6))
      AND (reach IS NULL OR json_array_length(reach) = 0
           OR EXISTS (SELECT FROM json_array_elements_text(reach) AS r (tenant) WHERE r.tenant = ANY ($6)))
  ))
  AND ($7::text IS NULL OR source = $7)
  AND ($8::bigint IS NULL OR source_id = $8)
  AND ($9::timestamptz IS NULL OR created_at >= $9)
  AND ($10::timestamptz IS NULL OR created_at < $10)
  AND ($11::text IS NULL OR state = $11)
ORDER BY position
LIMIT $12;

-- name: forget_idempotency_keys
-- Forget keys older than a day; at most $1 at a time.
DELETE FROM idempotency_keys WHERE (principal, key) IN (
    SELECT principal, key FROM idempotency_keys
    WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
);
