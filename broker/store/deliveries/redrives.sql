-- name: find_dead
-- Look at the next :limit dead deliveries after (:after_signal_id, :after_subscription_id), of signals up to :last_id and of
-- one subscription or (null) of all, in the order of their keys: which of them are asked for, and would be attempted. Null
-- filters are no filters. :names and :permitted_names are regular expressions (see `broker.names.expression`); :outcome is
-- that of the last attempt; :tenants and :untenanted say what belongs to the
-- caller, and what it may read.
-- Two branches, so that each has its index, and LIMIT 1, so that it is a look-up by key, whatever the statistics say.
WITH looked AS MATERIALIZED (
    (SELECT signal_id, subscription_id FROM deliveries
     WHERE :subscription_id::bigint IS NULL AND state = 'dead'
       AND (signal_id, subscription_id) > (:after_signal_id, :after_subscription_id)
       AND (:last_id::bigint IS NULL OR signal_id <= :last_id)
     ORDER BY signal_id, subscription_id LIMIT :limit)
    UNION ALL
    (SELECT signal_id, subscription_id FROM deliveries
     WHERE subscription_id = :subscription_id::bigint AND state = 'dead' AND signal_id >= :after_signal_id
       AND (signal_id, subscription_id) > (:after_signal_id, :after_subscription_id)
       AND (:last_id::bigint IS NULL OR signal_id <= :last_id)
     ORDER BY signal_id LIMIT :limit)
)
SELECT l.signal_id, l.subscription_id, statement_timestamp() AS now,
       s.id IS NOT NULL AND g.id IS NOT NULL
       AND (:outcome::text IS NULL OR :outcome = (
           SELECT CASE WHEN interrupted THEN 'interrupted' ELSE outcome END FROM attempts a
           WHERE a.signal_id = l.signal_id AND a.subscription_id = l.subscription_id ORDER BY number DESC LIMIT 1
       )) AS asked
FROM looked l
LEFT JOIN LATERAL (
    SELECT id FROM subscriptions
    WHERE id = l.subscription_id AND until IS NULL AND disabled_because IS NULL
      AND is_owned(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
    LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT id FROM signals
    WHERE id = l.signal_id AND (expires_at IS NULL OR expires_at > now())
      AND is_readable(scope, tenant_id, reach, :tenants, :untenanted::boolean)
      AND (:names::text IS NULL OR '.' || name ~ :names)
      AND (:permitted_names::text IS NULL OR '.' || name ~ :permitted_names)
      AND (:since::timestamptz IS NULL OR created_at >= :since)
      AND (:until::timestamptz IS NULL OR created_at < :until)
    LIMIT 1
) g ON true
ORDER BY l.signal_id, l.subscription_id;

-- name: redrive
-- Put dead deliveries back to parked, until :due_at (null: due now), or back into their ordering groups; those of signals
-- for later, until their moment. Attempts go on counting; the schedule starts over.
-- Locked in the order of their keys, to avoid deadlocks. A delivery that another session redrives is left to it.
WITH chosen AS (
    SELECT d.signal_id, d.subscription_id, c.due_at, (SELECT deliver_at FROM signals WHERE id = c.signal_id) AS deliver_at
    FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :due_at::timestamptz[])
        AS c (signal_id, subscription_id, due_at)
    JOIN deliveries d ON d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id
    WHERE d.state = 'dead'
    ORDER BY d.signal_id, d.subscription_id FOR UPDATE OF d
)
UPDATE deliveries d
SET state = 'parked', finished_at = NULL, redriven = attempts, begun_at = NULL,
    (reason, due_at) = (
        SELECT 'retry', greatest(coalesce(c.due_at, now()), c.deliver_at) WHERE d.ordering_key IS NULL
        UNION ALL
        SELECT 'scheduled', c.deliver_at WHERE d.ordering_key IS NOT NULL AND c.deliver_at > now()
        UNION ALL
        SELECT 'ordered', NULL WHERE d.ordering_key IS NOT NULL AND (c.deliver_at > now()) IS NOT TRUE
    )
FROM chosen c
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id
RETURNING d.signal_id;
