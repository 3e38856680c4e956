-- name: unrecorded
-- Which of signals $1, which expire at $2, are not recorded, each with whether it has expired. (OFFSET 0, because then it is
-- always a look-up by key, whatever the statistics say.)
SELECT s.id, s.expires_at IS NOT NULL AND s.expires_at <= now() AS expired
FROM unnest($1::bigint[], $2::timestamptz[]) AS s (id, expires_at)
WHERE NOT EXISTS (SELECT FROM matches WHERE signal_id = s.id OFFSET 0);

-- name: candidates
-- Subscriptions that may match signals named $1 with ids from $2 to $3: a superset; the matcher decides.
SELECT * FROM subscriptions
WHERE (name = ANY ($1::text[]) OR is_pattern)
  AND consumed_by IS NULL
  AND since < $3
  AND (until IS NULL OR until > $2)
ORDER BY id;

-- name: insert_matches
-- Note what was owed: each of signals $1 to the subscriptions listed in $2 (JSON). Not returned are those that another
-- recorder noted at the same moment.
INSERT INTO matches (signal_id, subscription_ids)
SELECT signal_id, ARRAY(SELECT json_array_elements_text(ids)::bigint)
FROM unnest($1::bigint[], $2::json[]) AS m (signal_id, ids)
ON CONFLICT (signal_id) DO NOTHING
RETURNING signal_id;

-- name: insert_signals
-- Record signals. This is the last statement of a recording, and the lock is held until that is committed and visible: so
-- positions become visible in ascending order, and who has read up to one never misses a lower one.
-- What came in by signal endpoints is counted by name and day.
WITH lock AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(7305004)
), recorded AS (
    INSERT INTO signals (id, created_at, name, scope, tenant_id, execution_id, reach, payload, types,
                         source, source_id, token_id, business_key, traceparent, ordering_key, deliver_at, expires_at,
                         state, due_at, position, recorded_at)
    SELECT s.*, nextval('signal_positions'), clock_timestamp()
    FROM lock, unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::json[],
                      $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], $14::text[],
                      $15::text[], $16::timestamptz[], $17::timestamptz[], $18::text[], $19::timestamptz[]) AS s
    RETURNING id, created_at, name, source
)
INSERT INTO endpoint_days AS known (name, day, signals, first_id, last_id)
SELECT name, (created_at AT TIME ZONE 'UTC')::date, count(*), min(id), max(id)
FROM recorded WHERE source = 'signal-endpoint' GROUP BY 1, 2
ON CONFLICT (name, day) DO UPDATE SET
    signals = known.signals + EXCLUDED.signals,
    first_id = least(known.first_id, EXCLUDED.first_id),
    last_id = greatest(known.last_id, EXCLUDED.last_id);

-- name: unbegun
-- At most $2 pending deliveries of signals $1 that no attempt was begun at: their messages may never have been published.
-- (If there are more, the scheduler finds them.)
SELECT signal_id, subscription_id, 1 AS attempt, app FROM deliveries
WHERE signal_id = ANY ($1::bigint[]) AND state IS NOT DISTINCT FROM 'pending' AND attempts = 0
LIMIT $2;
