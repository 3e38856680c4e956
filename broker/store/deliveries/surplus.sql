-- For the order of locks see broker/store/postgres/locks.py.

-- name: routes
-- What the shares of subscriptions are counted by: their tenants, and the URLs of their webhooks, one of each step.
SELECT id, tenants,
       CASE WHEN steps IS NULL THEN ARRAY[address]
            ELSE ARRAY(SELECT step ->> 'address' FROM json_array_elements(steps) AS step WHERE step ->> 'kind' = 'webhook')
       END AS urls
FROM (SELECT id, belongs_to(tenant_id, owner_tenants) AS tenants, steps, CASE WHEN kind = 'webhook' THEN address END AS address FROM subscriptions) AS s
WHERE id = ANY (:subscription_ids::bigint[]);

-- name: mark
-- Note that subscriptions, whose admission is locked, may have surplus deliveries.
UPDATE gates SET surplus = true WHERE subscription_id = ANY (:subscription_ids::bigint[]);

-- name: put_off
-- Park pending deliveries before their attempts, in ascending order of signals, as surplus. A message that was handed out
-- before stands for the next attempt, unless the one that it asked for has ended, or is under way (see `candidates` in
-- admission.sql).
UPDATE deliveries d SET state = 'parked', begun_at = NULL, due_at = NULL, reason = 'share'
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[], :redelivered::boolean[])
    AS p (signal_id, subscription_id, number, redelivered)
WHERE d.signal_id = p.signal_id AND d.subscription_id = p.subscription_id
  AND d.signal_id >= (:signal_ids::bigint[])[1] AND d.state IS NOT DISTINCT FROM 'pending'
  AND (d.attempts = p.number - 1 OR (p.redelivered AND d.attempts >= p.number AND d.begun_at IS NULL AND NOT EXISTS (
      SELECT FROM attempts t
      WHERE t.signal_id = p.signal_id AND t.subscription_id = p.subscription_id AND t.number >= p.number
        AND t.interrupted IS NOT TRUE OFFSET 0
  )));

-- name: find
-- At most :limit subscriptions after :after_id that may have surplus deliveries for the workers of :apps ('': of no app), with
-- their tenants. (OFFSET 0 makes it a look-up for each gate that says so, whatever the statistics say of subscriptions.)
SELECT g.subscription_id, belongs_to(s.tenant_id, s.owner_tenants) AS tenants, app_of(s.kind, s.address) AS app
FROM (
    SELECT subscription_id FROM gates WHERE surplus AND subscription_id > :after_id::bigint ORDER BY subscription_id OFFSET 0
) AS g
CROSS JOIN LATERAL (SELECT * FROM subscriptions WHERE id = g.subscription_id OFFSET 0) AS s
WHERE app_of(s.kind, s.address) = ANY (:apps::text[])
ORDER BY g.subscription_id LIMIT :limit::bigint;

-- name: recall
-- Put the oldest surplus deliveries of each of the subscriptions, as many as each of :limits says, back to pending; they are
-- rescued after :rescue_after seconds.
WITH chosen AS (
    SELECT waiting.* FROM unnest(:subscription_ids::bigint[], :limits::int[]) AS s (id, most) CROSS JOIN LATERAL (
        SELECT d.signal_id, d.subscription_id FROM deliveries d
        WHERE d.subscription_id = s.id AND d.state = 'parked' AND d.due_at IS NULL AND d.reason = 'share'
        ORDER BY d.signal_id LIMIT s.most
    ) AS waiting
)
UPDATE deliveries d SET state = 'pending', reason = NULL, due_at = now() + make_interval(secs => :rescue_after)
FROM chosen c
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state IS NOT DISTINCT FROM 'parked'
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app;

-- name: unmark
-- Note which of the subscriptions, whose admission is locked, have no surplus deliveries any more; return them. (OFFSET 0
-- makes it a look-up for each, whatever the statistics say.)
UPDATE gates g SET surplus = false
WHERE g.subscription_id = ANY (:subscription_ids::bigint[]) AND NOT EXISTS (
    SELECT FROM deliveries d
    WHERE d.subscription_id = g.subscription_id AND d.state = 'parked' AND d.due_at IS NULL AND d.reason = 'share' OFFSET 0
)
RETURNING g.subscription_id;
