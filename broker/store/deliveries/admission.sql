-- For the order of locks see broker/store/postgres/locks.py.

-- name: lock
-- Lock the admission of subscriptions: their rows of `gates`.
SELECT * FROM gates WHERE subscription_id = ANY (:subscription_ids::bigint[]) ORDER BY subscription_id FOR UPDATE;

-- name: lock_free
-- Lock the admission of those of the subscriptions for which no other session has.
SELECT g.* FROM gates g WHERE g.subscription_id = ANY (:subscription_ids::bigint[])
ORDER BY g.subscription_id FOR UPDATE SKIP LOCKED;

-- name: candidates
-- Those of the attempts asked for (as in `begin`) that are still due, of signals that have not expired, the `number` that
-- each would have, and what decides whether they may go. A message that was handed out before may have begun its attempt
-- already: unless that has ended, or is `under_way` at another deliverer, the message asks for the next one.
SELECT DISTINCT ON (d.signal_id, d.subscription_id)
    d.signal_id, d.subscription_id, a.number AS asked, d.attempts + 1 AS number, d.reason, d.steps_done, s AS subscription,
    statement_timestamp() AS now, octet_length(g.payload) AS size, d.attempts >= a.number AND d.begun_at IS NOT NULL AS under_way
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[], :redelivered::boolean[])
    AS a (signal_id, subscription_id, number, redelivered)
JOIN deliveries d ON d.signal_id = a.signal_id AND d.subscription_id = a.subscription_id
JOIN subscriptions s ON s.id = a.subscription_id
JOIN signals g ON g.id = a.signal_id
WHERE d.state IS NOT DISTINCT FROM 'pending' AND (g.expires_at IS NULL OR g.expires_at > now())
  AND (d.attempts = a.number - 1 OR (a.redelivered AND d.attempts >= a.number AND NOT EXISTS (
      SELECT FROM attempts t
      WHERE t.signal_id = a.signal_id AND t.subscription_id = a.subscription_id AND t.number >= a.number
        AND t.interrupted IS NOT TRUE OFFSET 0
  )))
ORDER BY d.signal_id, d.subscription_id, a.number DESC;

-- name: count_slots
-- How many concurrency slots of each subscription are taken, and which of the signals have one.
SELECT subscription_id, count(*) AS taken,
       array_agg(signal_id) FILTER (WHERE signal_id = ANY (:signal_ids::bigint[])) AS own
FROM places WHERE subscription_id = ANY (:subscription_ids::bigint[]) AND until > now()
GROUP BY subscription_id;

-- name: take_slots
-- Give each delivery a concurrency slot until its lease ends.
INSERT INTO places (signal_id, subscription_id, until)
SELECT signal_id, subscription_id, now() + lease
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :leases::interval[]) AS t (signal_id, subscription_id, lease)
ON CONFLICT (subscription_id, signal_id) DO UPDATE SET until = EXCLUDED.until;

-- name: free_slots
-- Take back the concurrency slots of deliveries.
DELETE FROM places p USING unnest(:signal_ids::bigint[], :subscription_ids::bigint[]) AS l (signal_id, subscription_id)
WHERE p.subscription_id = l.subscription_id AND p.signal_id = l.signal_id;

-- name: admit_waiting
-- Give free concurrency slots to the deliveries that wait for them, the oldest first, of each subscription at most as many
-- as :limits says: they become pending, and are rescued after :rescue_after seconds.
WITH free AS (
    SELECT s.id, least(l.most, s.max_in_flight - (
        SELECT count(*) FROM places p WHERE p.subscription_id = s.id AND p.until > now()
    )) AS slots
    FROM unnest(:subscription_ids::bigint[], :limits::bigint[]) AS l (id, most) JOIN subscriptions s USING (id)
    WHERE s.paused_at IS NULL
), chosen AS (
    SELECT waiting.* FROM free CROSS JOIN LATERAL (
        SELECT d.signal_id, d.subscription_id FROM deliveries d
        WHERE d.subscription_id = free.id AND d.state = 'parked' AND d.due_at IS NULL AND d.reason = 'in_flight'
        ORDER BY d.signal_id LIMIT greatest(free.slots, 0)
    ) AS waiting
), admitted AS (
    UPDATE deliveries d SET state = 'pending', due_at = now() + make_interval(secs => :rescue_after)
    FROM chosen c
    WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state IS NOT DISTINCT FROM 'parked'
    RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app
), taken AS (
    INSERT INTO places (signal_id, subscription_id, until)
    SELECT signal_id, subscription_id, now() + make_interval(secs => :rescue_after) FROM admitted
    ON CONFLICT (subscription_id, signal_id) DO UPDATE SET until = EXCLUDED.until
)
SELECT * FROM admitted;

-- name: park
-- Park pending deliveries before their attempts, until something happens.
UPDATE deliveries d SET state = 'parked', due_at = NULL, reason = p.reason
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[], :reasons::text[])
    AS p (signal_id, subscription_id, number, reason)
WHERE d.signal_id = p.signal_id AND d.subscription_id = p.subscription_id AND d.attempts = p.number - 1
  AND d.state IS NOT DISTINCT FROM 'pending';

-- name: bury
-- Give pending deliveries up before their attempts.
UPDATE deliveries d
SET state = 'dead', due_at = NULL, reason = b.reason, finished_at = now()
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[], :reasons::text[])
    AS b (signal_id, subscription_id, number, reason)
WHERE d.signal_id = b.signal_id AND d.subscription_id = b.subscription_id AND d.attempts = b.number - 1
  AND d.state IS NOT DISTINCT FROM 'pending';

-- name: save
-- Store the reservations of subscriptions whose admission is locked: the first moment that is not reserved, and whether
-- deliveries wait for reservations, or for something else.
UPDATE gates g SET slot_at = s.slot_at, rate_waiting = g.rate_waiting OR s.rate_waiting, held = g.held OR s.waiting
FROM unnest(:subscription_ids::bigint[], :slot_at::timestamptz[], :rate_waiting::boolean[], :waiting::boolean[])
    AS s (subscription_id, slot_at, rate_waiting, waiting)
WHERE g.subscription_id = s.subscription_id;

-- name: note_waiting
-- Note that a subscription may have deliveries for the sweep to look at.
UPDATE gates SET held = true WHERE subscription_id = :subscription_id;

-- name: note_recall
-- Note that the deliveries of subscriptions, whose admission is locked, that are parked because of their targets are to ask
-- for admission again at once.
UPDATE gates SET recalling = true WHERE subscription_id = ANY (:subscription_ids::bigint[]);

-- name: disable
-- Disable subscriptions; return those that were not disabled already.
WITH disabled AS (
    UPDATE subscriptions SET disabled_because = :reason
    WHERE id = ANY (:subscription_ids::bigint[]) AND disabled_because IS NULL
    RETURNING id
)
UPDATE gates SET held = true FROM disabled WHERE subscription_id = id RETURNING id;
