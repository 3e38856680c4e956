-- Whoever looks at lines of a key and changes them has locked the key, until that is committed and visible. Rows of
-- subscriptions and deliveries may be locked before keys; while a key is locked, only deliveries in its lines are, that
-- wait: nobody locks these before a key.

-- name: expect
-- Note that the throws of signals $1, with the ordering keys $2, are about to be answered.
INSERT INTO expected_signals (signal_id, ordering_key)
SELECT e.signal_id, e.ordering_key
FROM unnest($1::bigint[], $2::text[]) AS e (signal_id, ordering_key)
WHERE EXISTS (SELECT FROM subscriptions WHERE ordered AND until IS NULL)
  AND NOT EXISTS (SELECT FROM matches WHERE signal_id = e.signal_id OFFSET 0)
ON CONFLICT (signal_id) DO NOTHING;

-- name: lock_keys
-- Lock the ordering keys $1, always in the same order.
SELECT pg_advisory_xact_lock({locks.ORDERING_KEYS}, hash)
FROM (SELECT DISTINCT hashtext(key) AS hash FROM unnest($1::text[]) AS k (key) ORDER BY 1) AS hashes;

-- name: cease_expecting
-- Signals $1 are recorded.
DELETE FROM expected_signals WHERE signal_id = ANY ($1::bigint[]);

-- name: give_turns
-- Give the deliveries of locked keys $1 their turns, in the order of their signals, as far as no expected signal comes
-- before. Return the lines that they are in.
WITH expected AS (
    SELECT ordering_key, min(signal_id) AS first_id FROM expected_signals e
    WHERE ordering_key = ANY ($1::text[]) AND NOT EXISTS (SELECT FROM matches m WHERE m.signal_id = e.signal_id OFFSET 0)
    GROUP BY ordering_key
), ready AS MATERIALIZED (
    SELECT DISTINCT d.signal_id
    FROM deliveries d LEFT JOIN expected e ON e.ordering_key = d.ordering_key
    WHERE d.ordering_key = ANY ($1::text[]) AND d.state = 'parked' AND d.reason = 'ordered' AND d.turn IS NULL
      AND (e.first_id IS NULL OR d.signal_id < e.first_id)
    ORDER BY d.signal_id
), turns AS MATERIALIZED (
    SELECT signal_id, nextval('turns') AS turn FROM ready
)
UPDATE deliveries d SET turn = t.turn
FROM turns t
WHERE d.signal_id = t.signal_id AND d.ordering_key = ANY ($1::text[]) AND d.state = 'parked' AND d.reason = 'ordered'
  AND d.turn IS NULL
RETURNING d.subscription_id, d.ordering_key;

-- name: promote
-- Let the first one of each of the lines (subscriptions $1, locked keys $2) go in which nobody goes, and no dead delivery
-- blocks the way. $3: seconds after which they are looked after.
WITH lines AS (
    SELECT DISTINCT l.subscription_id, l.ordering_key, s.head_of_line
    FROM unnest($1::bigint[], $2::text[]) AS l (subscription_id, ordering_key)
    JOIN subscriptions s ON s.id = l.subscription_id
), first AS MATERIALIZED (
    SELECT head.signal_id, head.subscription_id
    FROM lines l CROSS JOIN LATERAL (
        SELECT d.signal_id, d.subscription_id, d.turn FROM deliveries d
        WHERE d.subscription_id = l.subscription_id AND d.ordering_key = l.ordering_key
          AND d.state = 'parked' AND d.reason = 'ordered' AND d.turn IS NOT NULL
        ORDER BY d.turn LIMIT 1
    ) AS head
    WHERE NOT EXISTS (
        SELECT FROM deliveries d
        WHERE d.subscription_id = l.subscription_id AND d.ordering_key = l.ordering_key
          AND (d.state = 'pending' OR (d.state = 'parked' AND d.reason NOT IN ('ordered', 'scheduled')))
    ) AND (l.head_of_line = 'skip' OR NOT EXISTS (
        SELECT FROM deliveries d
        WHERE d.subscription_id = l.subscription_id AND d.ordering_key = l.ordering_key AND d.state = 'dead'
          AND d.turn < head.turn
    ))
)
UPDATE deliveries d SET state = 'pending', reason = NULL, due_at = now() + make_interval(secs => $3)
FROM first f
WHERE d.signal_id = f.signal_id AND d.subscription_id = f.subscription_id AND d.state = 'parked'
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app;

-- name: lines_of
-- The lines of deliveries (signals $1, subscriptions $2) that are in one.
SELECT d.subscription_id, d.ordering_key
FROM unnest($1::bigint[], $2::bigint[]) AS k (signal_id, subscription_id)
JOIN deliveries d ON d.signal_id = k.signal_id AND d.subscription_id = k.subscription_id
WHERE d.ordering_key IS NOT NULL;

-- name: keys_to_settle
-- At most $1 keys of which deliveries may have got a turn meanwhile, or whose signals' moments have come.
SELECT ordering_key FROM (
    (SELECT ordering_key FROM deliveries
     WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered' AND turn IS NULL LIMIT $1)
    UNION
    (SELECT ordering_key FROM deliveries
     WHERE state = 'parked' AND due_at <= now() AND reason = 'scheduled' AND ordering_key IS NOT NULL
     ORDER BY due_at LIMIT $1)
) AS keys;

-- name: line_up
-- Deliveries of locked keys $1 whose moments have come get into their lines.
UPDATE deliveries SET reason = 'ordered', due_at = NULL
WHERE state = 'parked' AND due_at <= now() AND reason = 'scheduled' AND ordering_key = ANY ($1::text[]);

-- name: idle_lines
-- Of the next $3 lines after ($1, $2) in which somebody waits: each, and whether nobody goes.
WITH RECURSIVE lines AS (
    (SELECT subscription_id, ordering_key FROM deliveries
     WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered' AND (subscription_id, ordering_key) > ($1, $2)
     ORDER BY subscription_id, ordering_key LIMIT 1)
    UNION ALL
    SELECT following.* FROM lines l CROSS JOIN LATERAL (
        SELECT subscription_id, ordering_key FROM deliveries
        WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered'
          AND (subscription_id, ordering_key) > (l.subscription_id, l.ordering_key)
        ORDER BY subscription_id, ordering_key LIMIT 1
    ) AS following
)
SELECT l.subscription_id, l.ordering_key, NOT EXISTS (
    SELECT FROM deliveries d
    WHERE d.subscription_id = l.subscription_id AND d.ordering_key = l.ordering_key
      AND (d.state = 'pending' OR (d.state = 'parked' AND d.reason NOT IN ('ordered', 'scheduled')))
) AS idle
FROM (SELECT * FROM lines LIMIT $3) AS l;

-- name: forget_expected
-- Forget signals that are recorded, and those that were expected for longer than $1 (null: none); return how many of the
-- latter there were.
WITH forgotten AS (
    DELETE FROM expected_signals e
    WHERE created_at < now() - $1::interval OR EXISTS (SELECT FROM matches m WHERE m.signal_id = e.signal_id)
    RETURNING e.signal_id
)
SELECT count(*) FROM forgotten f WHERE NOT EXISTS (SELECT FROM matches m WHERE m.signal_id = f.signal_id);

-- name: expected_for
-- For how many seconds the longest expected signal has been expected.
SELECT extract(epoch FROM now() - min(created_at)) FROM expected_signals;
