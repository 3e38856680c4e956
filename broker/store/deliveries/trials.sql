-- For the order of locks see broker/store/postgres/locks.py.

-- name: find
-- At most :limit circuits that deliveries may be waiting for and that have closed, or whose targets may be tried again: those
-- that have waited longest, with their subscriptions. A target that a delivery was let go to try is left to that one for
-- :patience seconds. (OFFSET 0 makes it a look-up for each of them, whatever the statistics say of subscriptions.)
SELECT c.subscription_id, c.address, c.retry_at IS NULL AS closed, s.subscription
FROM (
    SELECT * FROM circuits
    WHERE awaited AND (
        retry_at IS NULL
        OR retry_at <= now() AND coalesce(probing_until, '-infinity') <= now()
           AND (trial_at IS NULL OR trial_at < retry_at OR trial_at < now() - make_interval(secs => :patience))
    )
    ORDER BY retry_at NULLS FIRST OFFSET 0
) AS c
CROSS JOIN LATERAL (
    SELECT n AS subscription FROM subscriptions n
    WHERE n.id = c.subscription_id AND n.until IS NULL AND n.paused_at IS NULL OFFSET 0
) AS s
ORDER BY c.retry_at NULLS FIRST LIMIT :limit;

-- name: lock
-- Lock those of the circuits that are still so, of subscriptions whose admission is locked; `closed`: they have closed.
SELECT c.subscription_id, c.address FROM circuits c
JOIN unnest(:subscription_ids::bigint[], :addresses::text[], :closed::boolean[]) AS k (subscription_id, address, closed)
    ON c.key = circuit_key(k.subscription_id, k.address)
WHERE c.awaited AND (c.retry_at IS NULL) = k.closed AND (k.closed OR c.retry_at <= now())
ORDER BY c.key FOR UPDATE OF c;

-- name: begin_trials
-- Let the oldest delivery that waits for each of the targets go, to try it; return those for which there was one. A delivery
-- waits for the target of its next step, or for that of a later one: up to :steps are done then.
WITH chosen AS (
    SELECT k.subscription_id, k.address, waiting.signal_id
    FROM unnest(:subscription_ids::bigint[], :addresses::text[], :steps::int[]) AS k (subscription_id, address, steps)
    CROSS JOIN LATERAL (
        SELECT d.signal_id FROM deliveries d
        WHERE d.subscription_id = k.subscription_id AND d.state = 'parked' AND d.due_at IS NULL
          AND d.reason IN ('circuit', 'throttled') AND d.steps_done <= k.steps
        ORDER BY d.signal_id LIMIT 1
    ) AS waiting
), let_go AS (
    UPDATE deliveries d SET due_at = now()
    FROM chosen c WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state = 'parked'
), noted AS (
    UPDATE circuits k SET trial_at = now()
    FROM chosen c WHERE k.key = circuit_key(c.subscription_id, c.address)
)
SELECT subscription_id, address FROM chosen;

-- name: note_idle
-- Note that nothing waits for these circuits any more. One that has closed is dropped, unless it failed since.
WITH idle AS (
    SELECT circuit_key(subscription_id, address) AS key
    FROM unnest(:subscription_ids::bigint[], :addresses::text[]) AS k (subscription_id, address)
), dropped AS (
    DELETE FROM circuits WHERE key IN (SELECT key FROM idle) AND retry_at IS NULL AND failures = 0
)
UPDATE circuits SET awaited = false WHERE key IN (SELECT key FROM idle) AND (retry_at IS NOT NULL OR failures > 0);

-- name: catch_up
-- Let what waited for the circuits of subscriptions, whose admission is locked, go on as after a pause, at the pace that a
-- resumption has asked for if its backlog is not through.
UPDATE gates SET held = true, catch_up = CASE WHEN held THEN catch_up END, caught_up = 0, caught_up_at = now()
WHERE subscription_id = ANY (:subscription_ids::bigint[]);

-- name: find_forsaken
-- Look at the next :limit subscriptions after :after that have deliveries which wait for an event: whether it may be a circuit
-- that is not there any more (processes of an earlier version drop them). However many deliveries they have, each subscription costs
-- a few look-ups.
WITH RECURSIVE held AS (
    (SELECT subscription_id AS id FROM deliveries
     WHERE state = 'parked' AND due_at IS NULL AND subscription_id > :after ORDER BY subscription_id LIMIT 1)
    UNION ALL
    SELECT following.id FROM held h CROSS JOIN LATERAL (
        SELECT subscription_id AS id FROM deliveries
        WHERE state = 'parked' AND due_at IS NULL AND subscription_id > h.id ORDER BY subscription_id LIMIT 1
    ) AS following
), looked AS MATERIALIZED (
    SELECT id FROM held LIMIT :limit
)
SELECT l.id, NOT g.held AND NOT g.recalling
       AND NOT EXISTS (SELECT FROM circuits c WHERE c.subscription_id = l.id AND c.awaited)
       AND EXISTS (
           SELECT FROM deliveries d
           WHERE d.subscription_id = l.id AND d.state = 'parked' AND d.due_at IS NULL AND d.reason IN ('circuit', 'throttled')
           OFFSET 0
       ) AS forsaken
FROM looked l JOIN gates g ON g.subscription_id = l.id
ORDER BY l.id;
