-- For the order of locks see gates.sql.

-- name: pause
UPDATE subscriptions SET paused_at = coalesce(paused_at, now()) WHERE id = $1 AND until IS NULL RETURNING *;

-- name: resume
-- Let the deliveries of subscription $1, whose gate is locked, go on: $2 a second, or by a ramp.
WITH gate AS (
    UPDATE gates SET catch_up = $2, caught_up = 0, caught_up_at = now(), held = true WHERE subscription_id = $1
)
UPDATE subscriptions SET paused_at = NULL, disabled_because = NULL WHERE id = $1 AND until IS NULL RETURNING *;

-- name: holding
-- At most $1 subscriptions whose gates may hold what can go on (chance decides which, if there are more).
SELECT g.subscription_id FROM gates g JOIN subscriptions s ON s.id = g.subscription_id
WHERE g.held AND (s.paused_at IS NULL OR s.disabled_because IS NOT NULL OR s.until IS NOT NULL)
ORDER BY random() LIMIT $1;

-- name: lock_idle
-- Lock those of the gates of subscriptions $1 that nobody else has locked.
SELECT g.* FROM gates g WHERE g.subscription_id = ANY ($1::bigint[]) ORDER BY g.subscription_id FOR UPDATE SKIP LOCKED;

-- name: standing
-- How subscriptions $1 stand.
SELECT id, paused_at IS NOT NULL AS paused, disabled_because, until IS NOT NULL AS deleted, statement_timestamp() AS now
FROM subscriptions WHERE id = ANY ($1::bigint[]);

-- name: end_waiting
-- Put at most $4 of the parked deliveries of each of the subscriptions $1 into the states $2, for the reasons $3; of those to be
-- cancelled, as many of the pending ones, too: nobody may be there any more for whom their messages wait.
WITH chosen AS (
    SELECT waiting.*, s.state, s.reason FROM unnest($1::bigint[], $2::text[], $3::text[]) AS s (id, state, reason)
    CROSS JOIN LATERAL (
        (SELECT d.signal_id, d.subscription_id, d.state AS was FROM deliveries d
         WHERE d.subscription_id = s.id AND d.state = 'parked' ORDER BY d.signal_id LIMIT $4)
        UNION ALL
        (SELECT d.signal_id, d.subscription_id, d.state FROM deliveries d
         WHERE s.state = 'cancelled' AND d.subscription_id = s.id AND d.state = 'pending' LIMIT $4)
    ) AS waiting
)
UPDATE deliveries d SET state = c.state, due_at = NULL, reason = c.reason, finished_at = now()
FROM chosen c WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state = c.was;

-- name: held
-- The oldest $2 of the deliveries that were held while each of the subscriptions $1 was paused.
SELECT held.* FROM unnest($1::bigint[], $2::int[]) AS s (id, most) CROSS JOIN LATERAL (
    SELECT d.signal_id, d.subscription_id FROM deliveries d
    WHERE d.subscription_id = s.id AND d.state = 'parked' AND d.due_at IS NULL AND d.reason = 'paused'
    ORDER BY d.signal_id LIMIT s.most
) AS held;

-- name: go_on
-- Let held deliveries (signals $1, subscriptions $2) go on at $3.
UPDATE deliveries d SET due_at = c.due_at
FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS c (signal_id, subscription_id, due_at)
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state = 'parked' AND d.due_at IS NULL;

-- name: save_catch_up
-- Keep how far locked gates caught up: subscriptions $1, how many went on $2, the last of them $3.
UPDATE gates g SET caught_up = c.done, caught_up_at = c.at
FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS c (subscription_id, done, at)
WHERE g.subscription_id = c.subscription_id;

-- name: drop_places
-- Drop the places of subscriptions $1 that came free by themselves.
DELETE FROM places WHERE subscription_id = ANY ($1::bigint[]) AND until < now();

-- name: settle
-- Note which of the locked gates of subscriptions $1 hold nothing any more (or nothing that is to be given up or cancelled).
UPDATE gates g SET held = false FROM subscriptions s
WHERE g.subscription_id = ANY ($1::bigint[]) AND s.id = g.subscription_id
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id AND d.state = 'parked' AND d.due_at IS NULL
                  AND d.reason IN ('paused', 'in_flight'))
  AND (s.disabled_because IS NULL AND s.until IS NULL
       OR NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id AND d.state = 'parked'))
  AND (s.until IS NULL
       OR NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id AND d.state = 'pending'));

-- name: backlog
-- What waits at the gate of subscription $1, and how its target is.
SELECT (SELECT created_at FROM deliveries WHERE subscription_id = $1 AND state = 'parked' ORDER BY signal_id LIMIT 1) AS oldest,
       k.failures, k.openings, k.retry_at, k.probing_until, statement_timestamp() AS now
FROM subscriptions s
LEFT JOIN circuits k ON s.kind = 'webhook' AND k.key = circuit_key(s.address)
WHERE s.id = $1;

-- name: census
-- How many circuits are open, and since when the longest held delivery has been owed.
SELECT (SELECT count(*) FROM circuits WHERE retry_at IS NOT NULL) AS circuits,
       (SELECT extract(epoch FROM now() - min(oldest.created_at)) FROM gates g CROSS JOIN LATERAL (
           SELECT created_at FROM deliveries d WHERE d.subscription_id = g.subscription_id AND d.state = 'parked'
           ORDER BY signal_id LIMIT 1
       ) AS oldest WHERE g.held) AS held_seconds;

-- name: forget_circuits
-- Forget circuits that nobody asked about for a day.
DELETE FROM circuits WHERE changed_at < now() - interval '1 day';

-- name: forget_places
-- Forget places that came free by themselves long ago.
DELETE FROM places WHERE until < now() - interval '1 hour';
