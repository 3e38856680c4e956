-- For the order of locks see broker/store/postgres/locks.py.

-- name: pause
-- Pause a subscription; `was_paused` says whether it was paused before.
WITH found AS (
    SELECT id, paused_at IS NOT NULL AS was_paused FROM subscriptions
    WHERE id = :subscription_id AND until IS NULL FOR UPDATE
)
UPDATE subscriptions s SET paused_at = coalesce(s.paused_at, now()) FROM found f WHERE s.id = f.id
RETURNING s.*, f.was_paused;

-- name: resume
-- Resume a subscription whose admission is locked: its backlog catches up at :per_second, or (null) by a ramp. `was_paused` and
-- `was_disabled_because` say what held it up.
WITH admission AS (
    UPDATE gates SET catch_up = :per_second, caught_up = 0, caught_up_at = now(), held = true
    WHERE subscription_id = :subscription_id
), found AS (
    SELECT id, paused_at IS NOT NULL AS was_paused, disabled_because AS was_disabled_because FROM subscriptions
    WHERE id = :subscription_id AND until IS NULL FOR UPDATE
)
UPDATE subscriptions s SET paused_at = NULL, disabled_because = NULL FROM found f WHERE s.id = f.id
RETURNING s.*, f.was_paused, f.was_disabled_because;

-- name: find_waiting
-- At most :limit subscriptions that may have waiting deliveries to go on, with their apps and tenants. If there are more,
-- tenants take turns, in any order. (OFFSET 0 makes it a look-up for each gate that says so, whatever the statistics say of
-- subscriptions.)
SELECT g.subscription_id, app_of(s.kind, s.address) AS app, t.tenants
FROM (SELECT * FROM gates WHERE held UNION ALL SELECT * FROM gates WHERE recalling AND NOT held) AS g
CROSS JOIN LATERAL (SELECT * FROM subscriptions WHERE id = g.subscription_id OFFSET 0) AS s
CROSS JOIN belongs_to(s.tenant_id, s.owner_tenants) AS t (tenants)
WHERE g.recalling OR g.held AND (s.paused_at IS NULL OR s.disabled_because IS NOT NULL OR s.until IS NOT NULL)
ORDER BY row_number() OVER (PARTITION BY t.tenants ORDER BY random()), random() LIMIT :limit;

-- name: conditions
-- Whether subscriptions are paused, disabled or deleted.
SELECT id, paused_at IS NOT NULL AS paused, disabled_because, until IS NOT NULL AS deleted, statement_timestamp() AS now
FROM subscriptions WHERE id = ANY (:subscription_ids::bigint[]);

-- name: end_waiting
-- Put at most :limit parked deliveries of each of the subscriptions into their final states; return of how many. If they
-- are cancelled, as many pending ones as well: no deliverer may be left that takes their messages. Those that another session
-- has locked are left for the next time: it may wait for others of them.
WITH chosen AS (
    SELECT waiting.*, s.state, s.reason
    FROM unnest(:subscription_ids::bigint[], :states::text[], :reasons::text[]) AS s (id, state, reason)
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT d.signal_id, d.subscription_id, d.state AS was FROM deliveries d
            WHERE d.subscription_id = s.id AND d.state = 'parked' ORDER BY d.signal_id LIMIT :limit FOR UPDATE SKIP LOCKED
        ) AS parked
        UNION ALL
        SELECT * FROM (
            SELECT d.signal_id, d.subscription_id, d.state FROM deliveries d
            WHERE s.state = 'cancelled' AND d.subscription_id = s.id AND d.state = 'pending' LIMIT :limit
            FOR UPDATE SKIP LOCKED
        ) AS pending
    ) AS waiting
), ended AS (
    UPDATE deliveries d SET state = c.state, due_at = NULL, reason = c.reason, finished_at = now()
    FROM chosen c WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state = c.was
    RETURNING d.signal_id
)
SELECT count(*) FROM ended;

-- name: backlog
-- The oldest deliveries that were parked while each of the subscriptions was paused, as many as each of :limits says, and
-- as many of those that waited for a target, unless some still have to (see trials.sql).
SELECT waiting.* FROM unnest(:subscription_ids::bigint[], :limits::int[]) AS s (id, most)
CROSS JOIN unnest(ARRAY['paused', 'circuit', 'throttled']) AS r (reason)
CROSS JOIN LATERAL (
    SELECT d.signal_id, d.subscription_id FROM deliveries d
    WHERE d.subscription_id = s.id AND d.state = 'parked' AND d.due_at IS NULL AND d.reason = r.reason
    ORDER BY d.signal_id LIMIT s.most
) AS waiting
WHERE r.reason = 'paused' OR NOT EXISTS (
    SELECT FROM circuits c WHERE c.subscription_id = s.id AND c.awaited AND c.retry_at IS NOT NULL
)
ORDER BY waiting.signal_id;

-- name: recall
-- Let deliveries that are parked because of their targets ask for admission again at once, at most :limit of each of the
-- subscriptions, whose admission is locked. Note for which of them there are no more.
WITH chosen AS (
    SELECT waiting.* FROM unnest(:subscription_ids::bigint[]) AS s (id) CROSS JOIN LATERAL (
        SELECT d.signal_id, d.subscription_id FROM deliveries d
        WHERE d.subscription_id = s.id AND d.state = 'parked' AND d.reason IN ('circuit', 'throttled')
          AND (d.due_at IS NULL OR d.due_at > now())
        ORDER BY d.signal_id LIMIT :limit
    ) AS waiting
), recalled AS (
    UPDATE deliveries d SET due_at = now()
    FROM chosen c WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state = 'parked'
)
UPDATE gates g SET recalling = false
WHERE g.subscription_id = ANY (:subscription_ids::bigint[])
  AND (SELECT count(*) FROM chosen c WHERE c.subscription_id = g.subscription_id) < :limit;

-- name: set_due
-- Give waiting deliveries the moments at which they go on.
UPDATE deliveries d SET due_at = c.due_at
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :due_at::timestamptz[]) AS c (signal_id, subscription_id, due_at)
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state = 'parked' AND d.due_at IS NULL;

-- name: save_catch_up
-- Store how far subscriptions whose admission is locked have caught up: how many deliveries, and the last one's moment.
UPDATE gates g SET caught_up = c.done, caught_up_at = c.at
FROM unnest(:subscription_ids::bigint[], :done::bigint[], :at::timestamptz[]) AS c (subscription_id, done, at)
WHERE g.subscription_id = c.subscription_id;

-- name: drop_expired_slots
-- Drop the concurrency slots of subscriptions whose leases have ended.
DELETE FROM places WHERE subscription_id = ANY (:subscription_ids::bigint[]) AND until < now();

-- name: clear_waiting
-- Note which of the subscriptions, whose admission is locked, have no waiting deliveries any more; nor, if they are disabled
-- or deleted, any that are yet to be given up or cancelled. (OFFSET 0 makes these look-ups, whatever the statistics say.)
UPDATE gates g SET held = false FROM subscriptions s
WHERE g.subscription_id = ANY (:subscription_ids::bigint[]) AND s.id = g.subscription_id
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id AND d.state = 'parked' AND d.due_at IS NULL
                  AND (d.reason IN ('paused', 'in_flight') OR d.reason IN ('circuit', 'throttled') AND NOT EXISTS (
                      SELECT FROM circuits c WHERE c.subscription_id = s.id AND c.awaited AND c.retry_at IS NOT NULL
                  )) OFFSET 0)
  AND (s.disabled_because IS NULL AND s.until IS NULL
       OR NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id AND d.state = 'parked' OFFSET 0))
  AND (s.until IS NULL
       OR NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id AND d.state = 'pending' OFFSET 0));

-- name: census
-- How many circuits are open; how many of them opened :lasting times and more, while deliveries of an active subscription
-- wait; and for how many seconds the oldest waiting delivery has been owed: what could be leased of a paused subscription
-- waits, too.
SELECT (SELECT count(*) FROM circuits WHERE retry_at IS NOT NULL AND subscription_id IS NOT NULL) AS circuits,
       (SELECT count(*) FROM circuits k CROSS JOIN LATERAL (SELECT * FROM subscriptions WHERE id = k.subscription_id OFFSET 0) AS s
        WHERE k.retry_at IS NOT NULL AND k.awaited AND k.openings >= :lasting::int
          AND s.until IS NULL AND s.paused_at IS NULL AND s.disabled_because IS NULL) AS lasting,
       extract(epoch FROM now() - least(
           (SELECT min(oldest.created_at) FROM (
               SELECT subscription_id FROM gates WHERE held
               UNION ALL SELECT subscription_id FROM gates WHERE rate_waiting AND NOT held
               UNION ALL SELECT subscription_id FROM gates WHERE surplus AND NOT rate_waiting AND NOT held
           ) AS g CROSS JOIN LATERAL (
               SELECT created_at FROM deliveries d WHERE d.subscription_id = g.subscription_id AND d.state = 'parked'
               ORDER BY signal_id LIMIT 1
           ) AS oldest),
           (SELECT min(oldest.created_at) FROM subscriptions s CROSS JOIN LATERAL (
               SELECT created_at FROM deliveries d
               WHERE d.subscription_id = s.id AND d.state = 'pending' AND d.app = '$pull' AND d.reason IS DISTINCT FROM 'leased'
               ORDER BY signal_id LIMIT 1
           ) AS oldest
           WHERE s.until IS NULL AND s.paused_at IS NOT NULL AND app_of(s.kind, s.address) = '$pull')
       )) AS waiting_seconds;

-- name: forget_slots
-- Forget concurrency slots whose leases ended long ago.
DELETE FROM places WHERE until < now() - interval '1 hour';
