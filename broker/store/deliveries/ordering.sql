-- A session that looks at the ordering groups of a key and changes them has locked the key, until the change is committed
-- and visible. For the order of locks see broker/store/postgres/locks.py.

-- name: note_pending_records
-- Note that the throws of signals with ordering keys are about to be answered, and their records are pending. They are
-- reported to the books of the intake at once, so that no later signal waits for one of them that is lost.
WITH noted AS (
    INSERT INTO expected_signals (signal_id, ordering_key)
    SELECT e.signal_id, e.ordering_key
    FROM unnest(:signal_ids::bigint[], :ordering_keys::text[]) AS e (signal_id, ordering_key)
    WHERE EXISTS (SELECT FROM subscriptions WHERE ordered AND until IS NULL)
      AND NOT EXISTS (SELECT FROM matches WHERE signal_id = e.signal_id OFFSET 0)
    ON CONFLICT (signal_id) DO NOTHING
    RETURNING signal_id
)
INSERT INTO acceptance_reports (numbers)
SELECT range_agg(int8range(signal_id, signal_id + 1)) FROM noted HAVING count(*) > 0;

-- name: lock_keys
-- Lock ordering keys, always in the same order.
SELECT pg_advisory_xact_lock({locks.ORDERING_KEYS}, hash)
FROM (SELECT DISTINCT hashtext(key) AS hash FROM unnest(:ordering_keys::text[]) AS k (key) ORDER BY 1) AS hashes;

-- name: clear_pending_records
-- Note that signals are recorded.
DELETE FROM expected_signals WHERE signal_id = ANY (:signal_ids::bigint[]);

-- name: assign_sequence
-- Give the deliveries of locked keys their sequence numbers, in the order of their signals, up to the first signal whose
-- record is pending. Return their ordering groups.
WITH pending AS (
    SELECT ordering_key, min(signal_id) AS first_id FROM expected_signals e
    WHERE ordering_key = ANY (:ordering_keys::text[]) AND (
        NOT EXISTS (SELECT FROM matches m WHERE m.signal_id = e.signal_id OFFSET 0)
        OR EXISTS (SELECT FROM wide_recordings w WHERE w.signal_id = e.signal_id AND NOT w.finished OFFSET 0)
    )
    GROUP BY ordering_key
), ready AS MATERIALIZED (
    SELECT DISTINCT d.signal_id
    FROM deliveries d LEFT JOIN pending p ON p.ordering_key = d.ordering_key
    WHERE d.ordering_key = ANY (:ordering_keys::text[]) AND d.state = 'parked' AND d.reason = 'ordered' AND d.turn IS NULL
      AND (p.first_id IS NULL OR d.signal_id < p.first_id)
    ORDER BY d.signal_id
), numbered AS MATERIALIZED (
    SELECT signal_id, nextval('turns') AS number FROM ready
)
UPDATE deliveries d SET turn = n.number
FROM numbered n
WHERE d.signal_id = n.signal_id AND d.ordering_key = ANY (:ordering_keys::text[]) AND d.state = 'parked'
  AND d.reason = 'ordered' AND d.turn IS NULL
RETURNING d.subscription_id, d.ordering_key;

-- name: advance_groups
-- For every ordering group (of locked keys) without a delivery in flight, and without a blocking dead one, make its first
-- waiting delivery pending. It is rescued after :rescue_after seconds. A dead delivery whose signal has expired blocks
-- nothing: it cannot be redriven.
WITH groups AS (
    SELECT DISTINCT l.subscription_id, l.ordering_key, s.head_of_line
    FROM unnest(:subscription_ids::bigint[], :ordering_keys::text[]) AS l (subscription_id, ordering_key)
    JOIN subscriptions s ON s.id = l.subscription_id
), first AS MATERIALIZED (
    SELECT head.signal_id, head.subscription_id
    FROM groups l CROSS JOIN LATERAL (
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
          AND d.turn < head.turn AND (d.expires_at IS NULL OR d.expires_at > now() OR d.expires_at = '-infinity')
    ))
)
UPDATE deliveries d SET state = 'pending', reason = NULL, due_at = now() + make_interval(secs => :rescue_after)
FROM first f
WHERE d.signal_id = f.signal_id AND d.subscription_id = f.subscription_id AND d.state = 'parked'
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app;

-- name: groups_of
-- The ordering groups of those of the deliveries that are in one.
SELECT d.subscription_id, d.ordering_key
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[]) AS k (signal_id, subscription_id)
JOIN deliveries d ON d.signal_id = k.signal_id AND d.subscription_id = k.subscription_id
WHERE d.ordering_key IS NOT NULL;

-- name: next_unnumbered_keys
-- The next :limit keys after :after_key with deliveries without a sequence number.
WITH RECURSIVE keys AS (
    (SELECT ordering_key FROM deliveries
     WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered' AND turn IS NULL AND ordering_key > :after_key
     ORDER BY ordering_key LIMIT 1)
    UNION ALL
    SELECT following.* FROM keys k CROSS JOIN LATERAL (
        SELECT ordering_key FROM deliveries
        WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered' AND turn IS NULL
          AND ordering_key > k.ordering_key
        ORDER BY ordering_key LIMIT 1
    ) AS following
)
SELECT ordering_key FROM keys LIMIT :limit;

-- name: keys_that_are_due
-- The keys of at most :limit deliveries whose signals' moments have come; they join their groups then.
SELECT DISTINCT ordering_key FROM (
    SELECT ordering_key FROM deliveries
    WHERE state = 'parked' AND due_at <= now() AND reason = 'scheduled' AND ordering_key IS NOT NULL
    ORDER BY due_at LIMIT :limit
) AS due;

-- name: join_groups
-- Let deliveries of locked keys whose signals' moments have come join their ordering groups.
UPDATE deliveries SET reason = 'ordered', due_at = NULL
WHERE state = 'parked' AND due_at <= now() AND reason = 'scheduled' AND ordering_key = ANY (:ordering_keys::text[]);

-- name: next_groups
-- The next :limit ordering groups after (:after_subscription_id, :after_key) that have waiting deliveries, each with whether
-- it is idle: none of its deliveries is in flight.
WITH RECURSIVE groups AS (
    (SELECT subscription_id, ordering_key FROM deliveries
     WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered'
       AND (subscription_id, ordering_key) > (:after_subscription_id, :after_key)
     ORDER BY subscription_id, ordering_key LIMIT 1)
    UNION ALL
    SELECT following.* FROM groups l CROSS JOIN LATERAL (
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
FROM (SELECT * FROM groups LIMIT :limit) AS l;

-- name: forget_pending_records
-- Forget signals that are recorded.
DELETE FROM expected_signals e
WHERE EXISTS (SELECT FROM matches m WHERE m.signal_id = e.signal_id)
  AND NOT EXISTS (SELECT FROM wide_recordings w WHERE w.signal_id = e.signal_id AND NOT w.finished);
