-- name: look
-- Look at the next $1 dead deliveries after ($2, $3), of signals up to $4 and of subscription $5 (null: all), in the order of
-- their keys: which are asked for, and would be attempted. $6 and $7: regular expressions over names (see
-- `broker.names.expression`); accepted at $8 or later and before $9; $10: the outcome of the last attempt; $11: the tenants
-- the caller sees. Null filters are no filters.
-- Two branches, so that each has its index, and LIMIT 1, so that it is a look-up by key, whatever the statistics say.
WITH looked AS MATERIALIZED (
    (SELECT signal_id, subscription_id FROM deliveries
     WHERE $5::bigint IS NULL AND state = 'dead' AND (signal_id, subscription_id) > ($2, $3)
       AND ($4::bigint IS NULL OR signal_id <= $4)
     ORDER BY signal_id, subscription_id LIMIT $1)
    UNION ALL
    (SELECT signal_id, subscription_id FROM deliveries
     WHERE subscription_id = $5::bigint AND state = 'dead' AND signal_id >= $2 AND (signal_id, subscription_id) > ($2, $3)
       AND ($4::bigint IS NULL OR signal_id <= $4)
     ORDER BY signal_id LIMIT $1)
)
SELECT l.signal_id, l.subscription_id, statement_timestamp() AS now,
       s.id IS NOT NULL AND g.id IS NOT NULL
       AND ($10::text IS NULL OR $10 = (
           SELECT outcome FROM attempts a
           WHERE a.signal_id = l.signal_id AND a.subscription_id = l.subscription_id ORDER BY number DESC LIMIT 1
       )) AS asked
FROM looked l
LEFT JOIN LATERAL (
    SELECT id FROM subscriptions
    WHERE id = l.subscription_id AND until IS NULL AND disabled_because IS NULL
      AND ($11::text[] IS NULL OR tenant_id IS NULL OR tenant_id = ANY ($11))
    LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT id FROM signals
    WHERE id = l.signal_id AND (expires_at IS NULL OR expires_at > now())
      AND ($6::text IS NULL OR '.' || name ~ $6)
      AND ($7::text IS NULL OR '.' || name ~ $7)
      AND ($8::timestamptz IS NULL OR created_at >= $8)
      AND ($9::timestamptz IS NULL OR created_at < $9)
    LIMIT 1
) g ON true
ORDER BY l.signal_id, l.subscription_id;

-- name: redrive
-- Put dead deliveries (signals $1, subscriptions $2) back to parked, until $3 (null: due now), or back into their lines; of
-- signals for later, until their moment. Attempts go on counting; the schedule starts over.
-- Locked in the order of their keys, so that nobody waits in a circle; what somebody else redrives is left to him.
WITH chosen AS (
    SELECT d.signal_id, d.subscription_id, c.due_at, (SELECT deliver_at FROM signals WHERE id = c.signal_id) AS deliver_at
    FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS c (signal_id, subscription_id, due_at)
    JOIN deliveries d ON d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id
    WHERE d.state = 'dead'
    ORDER BY d.signal_id, d.subscription_id FOR UPDATE OF d
)
UPDATE deliveries d
SET state = 'parked', finished_at = NULL, redriven = attempts,
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
