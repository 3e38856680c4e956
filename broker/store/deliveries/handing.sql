-- For the idioms in the look-ups by key see attempts.sql; here the highest signal leaves later partitions out, too.

-- name: hand_on
-- End attempts that have succeeded, in ascending order of signals, as `finish` (attempts.sql) does, and begin that of the next
-- delivery of each one's ordering group, as `advance_groups` (ordering.sql) and `begin` (attempts.sql) would, if it needs no
-- admission and its payload has at most :room bytes. Return what was begun.
-- The snapshot is older than the lock of the key, so a delivery that was recorded between the two is not found; but none is
-- begun that may not be: the group's delivery in flight is the one that ends here. A key that another session has locked is
-- left alone. In both cases the caller advances the group.
-- The LIMIT limits nothing. It lets the planner expect a single row whatever the parameters are, so that it keeps one plan:
-- to plan takes ten times as long as to execute, and with the rows that it expects of arrays it would do so each time.
WITH ended AS MATERIALIZED (
    SELECT * FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[], :started_at::timestamptz[],
                         :durations::double precision[], :outcomes::text[], :statuses::int[], :errors::text[],
                         :excerpts::text[], :steps_done::int[], :steps::json[], :exchanges::bytea[])
        AS e (signal_id, subscription_id, number, started_at, duration, outcome, status, error, excerpt, steps_done, steps,
              exchanges)
    LIMIT cardinality(:signal_ids::bigint[])
), settled AS (
    UPDATE deliveries d
    SET state = 'delivered', due_at = NULL, reason = NULL, steps_done = e.steps_done, finished_at = now(),
        begun_at = CASE WHEN d.attempts > e.number THEN d.begun_at END,
        begun_by = CASE WHEN d.attempts > e.number THEN d.begun_by END
    FROM ended e
    WHERE d.signal_id = e.signal_id AND d.subscription_id = e.subscription_id
      AND d.signal_id >= (:signal_ids::bigint[])[1] AND d.signal_id <= (:signal_ids::bigint[])[cardinality(:signal_ids::bigint[])]
      AND d.state IS NOT DISTINCT FROM 'pending' AND d.attempts >= e.number
      AND NOT EXISTS (
          SELECT FROM attempts t
          WHERE t.signal_id = e.signal_id AND t.subscription_id = e.subscription_id AND t.number = e.number
            AND t.interrupted IS NOT TRUE OFFSET 0
      )
    RETURNING d.signal_id, d.subscription_id, d.ordering_key, d.app
), noted AS (
    INSERT INTO attempts AS known (signal_id, subscription_id, number, started_at, duration, outcome, status, error, excerpt,
                                   steps, exchanges)
    SELECT signal_id, subscription_id, number, started_at, duration, outcome, status, error, excerpt, steps, exchanges
    FROM ended
    WHERE EXISTS (SELECT FROM blocks WHERE ended.signal_id >= first_id AND ended.signal_id < next_id)
    ON CONFLICT (signal_id, subscription_id, number) DO UPDATE
    SET started_at = EXCLUDED.started_at, duration = EXCLUDED.duration, outcome = EXCLUDED.outcome, status = EXCLUDED.status,
        error = EXCLUDED.error, excerpt = EXCLUDED.excerpt, steps = EXCLUDED.steps, exchanges = EXCLUDED.exchanges,
        interrupted = NULL
    WHERE known.interrupted
), locked AS MATERIALIZED (
    SELECT s.*, pg_try_advisory_xact_lock({locks.ORDERING_KEYS}, hashtext(s.ordering_key)) AS is_locked FROM settled s
), following AS MATERIALIZED (
    SELECT next.signal_id, l.subscription_id, l.signal_id AS ended_id
    FROM locked l JOIN subscriptions s ON s.id = l.subscription_id CROSS JOIN LATERAL (
        SELECT d.signal_id, d.turn, d.app FROM deliveries d
        WHERE d.subscription_id = l.subscription_id AND d.ordering_key = l.ordering_key
          AND d.state = 'parked' AND d.reason = 'ordered' AND d.turn IS NOT NULL
        ORDER BY d.turn LIMIT 1
    ) AS next
    WHERE l.is_locked AND next.app = l.app AND s.until IS NULL AND s.paused_at IS NULL AND s.disabled_because IS NULL
      AND s.max_in_flight IS NULL AND s.max_per_second IS NULL
      AND NOT EXISTS (SELECT FROM circuits k WHERE k.subscription_id = s.id)
      AND NOT EXISTS (
          SELECT FROM deliveries d
          WHERE d.subscription_id = l.subscription_id AND d.ordering_key = l.ordering_key AND d.signal_id <> l.signal_id
            AND (d.state = 'pending' OR (d.state = 'parked' AND d.reason NOT IN ('ordered', 'scheduled')))
      ) AND (s.head_of_line = 'skip' OR NOT EXISTS (
          SELECT FROM deliveries d
          WHERE d.subscription_id = l.subscription_id AND d.ordering_key = l.ordering_key AND d.state = 'dead'
            AND d.turn < next.turn AND (d.expires_at IS NULL OR d.expires_at > now() OR d.expires_at = '-infinity')
      ))
), begun AS (
    UPDATE deliveries d
    SET state = 'pending', attempts = d.attempts + 1, begun_at = now(), begun_by = :by, reason = NULL,
        due_at = now() + make_interval(
            secs => coalesce(s.timeout, :timeout) * coalesce(json_array_length(s.steps), 1) + :rescue_after
        )
    FROM following f JOIN signals g ON g.id = f.signal_id JOIN subscriptions s ON s.id = f.subscription_id
    WHERE d.signal_id = f.signal_id AND d.subscription_id = f.subscription_id
      AND d.state IS NOT DISTINCT FROM 'parked' AND d.reason = 'ordered'
      AND (g.expires_at IS NULL OR g.expires_at > now()) AND octet_length(g.payload) <= :room::bigint
    RETURNING f.ended_id, d.signal_id, d.subscription_id, d.attempts AS number, d.app, d.redriven, d.steps_done, true AS in_group,
              d.created_at AS owed_at, g.id, g.created_at, g.name, g.scope, g.tenant_id, g.execution_id, g.reach, g.types,
              g.source, g.source_id, g.token_id, g.business_key, g.traceparent, g.tracestate, g.hops, g.ordering_key, g.deliver_at,
              g.expires_at, g.state, g.payload
)
SELECT b.*, s AS subscription,
       CASE WHEN s.previous_secret_until > now() THEN s.previous_secret END AS previous_secret,
       CASE WHEN s.steps IS NOT NULL OR 'v1a' = ANY (s.signatures) THEN (
           SELECT array_agg(k.private_key ORDER BY k.id DESC) FROM webhook_keys k
           WHERE k.valid_until IS NULL OR k.valid_until > now()
       ) END AS signing_keys
FROM begun b
JOIN subscriptions s ON s.id = b.subscription_id;

-- name: find_heir
-- The attempt under way in the ordering group of a delivery that is not pending itself, if there is one.
SELECT h.signal_id, h.subscription_id, h.attempts AS attempt, h.app
FROM deliveries d JOIN deliveries h ON h.subscription_id = d.subscription_id AND h.ordering_key = d.ordering_key
WHERE d.signal_id = :signal_id AND d.subscription_id = :subscription_id AND d.state <> 'pending'
  AND h.state = 'pending' AND h.begun_at IS NOT NULL
LIMIT 1;
