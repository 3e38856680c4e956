-- For the order of locks see broker/store/postgres/locks.py.

-- name: find
-- At most :limit subscriptions whose deliveries wait for reservations that can be given out now: for the next :horizon
-- seconds, or because the limit was changed, or removed. If there are more, tenants take turns, in any
-- order. Those for the workers of :without_apps ('': of no app) are left out. (OFFSET 0 makes it a look-up for each gate that
-- says so, whatever the statistics say of subscriptions.)
SELECT g.subscription_id, g.slot_at, s.max_per_second, app_of(s.kind, s.address) AS app, t.tenants, now() AS now
FROM (SELECT * FROM gates WHERE rate_waiting OFFSET 0) AS g
CROSS JOIN LATERAL (SELECT * FROM subscriptions WHERE id = g.subscription_id OFFSET 0) AS s
CROSS JOIN belongs_to(s.tenant_id, s.owner_tenants) AS t (tenants)
WHERE s.paused_at IS NULL AND app_of(s.kind, s.address) <> ALL (:without_apps::text[])
  AND (s.max_per_second IS NULL OR g.slot_at <= now() + make_interval(secs => :horizon)
       OR g.slot_at > now() + make_interval(secs => :horizon + 1 / s.max_per_second))
ORDER BY row_number() OVER (PARTITION BY t.tenants ORDER BY random()), random() LIMIT :limit;

-- name: lock_free
-- Lock the admission of those of the subscriptions for which no other session has, and return their reservations.
SELECT g.subscription_id, g.slot_at, s.max_per_second, clock_timestamp() AS now
FROM gates g JOIN subscriptions s ON s.id = g.subscription_id
WHERE g.subscription_id = ANY (:subscription_ids::bigint[])
ORDER BY g.subscription_id FOR UPDATE OF g SKIP LOCKED;

-- name: lock
-- Lock the admission of subscriptions, and return their reservations.
SELECT g.subscription_id, g.slot_at, s.max_per_second, clock_timestamp() AS now
FROM gates g JOIN subscriptions s ON s.id = g.subscription_id
WHERE g.subscription_id = ANY (:subscription_ids::bigint[])
ORDER BY g.subscription_id FOR UPDATE OF g;

-- name: take
-- Make the oldest deliveries that wait for reservations pending, as many of each subscription as :limits says. They are
-- rescued after :rescue_after seconds.
WITH chosen AS (
    SELECT waiting.* FROM unnest(:subscription_ids::bigint[], :limits::bigint[]) AS s (id, most) CROSS JOIN LATERAL (
        SELECT d.signal_id, d.subscription_id FROM deliveries d
        WHERE d.subscription_id = s.id AND d.state = 'parked' AND d.due_at IS NULL AND d.reason = 'rate'
        ORDER BY d.signal_id LIMIT s.most
    ) AS waiting
)
UPDATE deliveries d SET state = 'pending', due_at = now() + make_interval(secs => :rescue_after)
FROM chosen c
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state IS NOT DISTINCT FROM 'parked' AND d.due_at IS NULL
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app;

-- name: save
-- Store the reservations of subscriptions whose admission is locked, and whether deliveries still wait for some.
UPDATE gates g SET slot_at = s.slot_at, rate_waiting = s.waiting
FROM unnest(:subscription_ids::bigint[], :slot_at::timestamptz[], :waiting::boolean[]) AS s (subscription_id, slot_at, waiting)
WHERE g.subscription_id = s.subscription_id;
