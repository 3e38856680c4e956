-- For the order of locks see broker/store/postgres/locks.py.

-- name: lock
-- Lock the circuits of those webhooks of subscriptions that failed before.
SELECT * FROM circuits
WHERE key IN (SELECT circuit_key(subscription_id, address)
              FROM unnest(:subscription_ids::bigint[], :addresses::text[]) AS a (subscription_id, address))
ORDER BY key FOR UPDATE;

-- name: create
-- Lock the circuits of webhooks of subscriptions, and create those that are missing. A deleted subscription has none.
INSERT INTO circuits (key, subscription_id, address)
SELECT circuit_key(s.id, a.address), s.id, a.address
FROM unnest(:subscription_ids::bigint[], :addresses::text[]) AS a (subscription_id, address)
JOIN subscriptions s ON s.id = a.subscription_id AND s.until IS NULL
ORDER BY 1
ON CONFLICT (key) DO UPDATE SET changed_at = now()
RETURNING *;

-- name: save
-- Store locked circuits.
UPDATE circuits k
SET failures = c.failures, openings = c.openings, retry_at = c.retry_at, probing_until = c.probing_until,
    spared_until = c.spared_until, awaited = c.awaited, changed_at = now()
FROM unnest(:subscription_ids::bigint[], :addresses::text[], :failures::int[], :openings::int[], :retry_at::timestamptz[],
            :probing_until::timestamptz[], :spared_until::timestamptz[], :awaited::boolean[])
    AS c (subscription_id, address, failures, openings, retry_at, probing_until, spared_until, awaited)
WHERE k.key = circuit_key(c.subscription_id, c.address);

-- name: end_probes
-- Let the next attempts try targets again. Their circuits are locked in the order of their keys.
WITH probed AS (
    SELECT key FROM circuits
    WHERE key IN (SELECT circuit_key(subscription_id, address)
                  FROM unnest(:subscription_ids::bigint[], :addresses::text[]) AS a (subscription_id, address))
    ORDER BY key FOR UPDATE
)
UPDATE circuits k SET probing_until = NULL FROM probed p WHERE k.key = p.key;

-- name: drop
-- Drop the circuits of webhooks that succeeded, and that nothing waits for. That those which had failed recovered is an event.
WITH dropped AS (
    DELETE FROM circuits
    WHERE key IN (SELECT circuit_key(subscription_id, address)
                  FROM unnest(:subscription_ids::bigint[], :addresses::text[]) AS a (subscription_id, address))
    RETURNING subscription_id, address, failures
)
SELECT note_event('$broker.target.recovered', subscription_id, md5(address), json_build_object('host', host_of('webhook', address)))
FROM dropped WHERE failures > 0;

-- name: of_subscriptions
-- The circuits of subscriptions, those of their former targets included.
SELECT *, statement_timestamp() AS now FROM circuits WHERE subscription_id = ANY (:subscription_ids::bigint[]);

-- name: drop_of_subscription
-- Drop the circuits of a subscription that is deleted, or whose targets are to be tried again at once.
DELETE FROM circuits WHERE subscription_id = :subscription_id RETURNING address;

-- name: forget
-- Forget circuits that no attempt has touched for a day and that nothing waits for, and those of subscriptions that were deleted meanwhile.
DELETE FROM circuits k
WHERE changed_at < now() - interval '1 day' AND NOT awaited
   OR subscription_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM subscriptions s WHERE s.id = k.subscription_id AND s.until IS NULL);
