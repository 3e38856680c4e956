-- deliveries and attempts are partitioned by signal_id (see partitions.sql). Three idioms keep look-ups by key fast, whatever
-- the planner believes of a partition that has just begun. Bounds of signal_id leave other partitions out, and `state IS NOT
-- DISTINCT FROM` keeps it from walking through the index of all pending deliveries. In `begin` and `finish` the bounds come from
-- a CTE, in `finish` behind a LIMIT that limits nothing: the planner learns nothing from the parameters, and PostgreSQL keeps
-- one plan for all of them. Planning over all partitions takes longer than executing the plan.

-- name: begin
-- Begin those of the attempts asked for, in ascending order of signals, that are still due: an attempt that was begun before
-- is left to `broker.admission`. None is begun whose signal has expired: the scheduler cancels its delivery (see expiring.sql).
-- `needs_admission` decides nothing. It only says whether `broker.admission` has anything to decide by (a limit, a pause, a
-- target that failed); then nothing is begun unless the attempts are :admitted already.
-- Nor is an attempt begun whose payload has more bytes than its `room`; such a payload is not even read.
-- :by is the deliverer, null if the store does not know it.
-- :timeout is that of subscriptions without one; after it and :rescue_after more the scheduler rescues the delivery. If that is
-- due later than the timeout and a third of :rescue_after anyway, as for an attempt that begins soon after the signal was
-- recorded, the moment stays: no indexed column changes, and the update is a HOT one.
-- :leased_for is how long a caller leases the attempts, in seconds, null if none does: that is their rescue then.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[], :rooms::bigint[])
        AS a (signal_id, subscription_id, number, room)
), asked AS (
    SELECT a.*, g.expires_at IS NOT NULL AND g.expires_at <= now() AS expired,
           g.id, g.created_at, g.name, g.scope, g.tenant_id, g.execution_id, g.reach, g.types, g.source, g.source_id,
           g.token_id, g.business_key, g.traceparent, g.tracestate, g.hops, g.ordering_key, g.deliver_at, g.expires_at, g.state,
           CASE WHEN octet_length(g.payload) <= a.room THEN g.payload END AS payload
    FROM given a JOIN signals g ON g.id = a.signal_id
    WHERE g.id >= (SELECT min(signal_id) FROM given) AND g.id <= (SELECT max(signal_id) FROM given)
), receiving AS (
    SELECT s.id, coalesce(s.timeout, :timeout) * coalesce(json_array_length(s.steps), 1) AS longest,
           s.max_in_flight IS NOT NULL OR s.max_per_second IS NOT NULL
           OR s.paused_at IS NOT NULL OR s.disabled_because IS NOT NULL
           OR EXISTS (SELECT FROM circuits k WHERE k.subscription_id = s.id OFFSET 0) AS needs_admission
    FROM subscriptions s
), begun AS (
    UPDATE deliveries d
    SET attempts = a.number,
        begun_at = now(),
        begun_by = :by,
        due_at = CASE
            WHEN :leased_for::float8 IS NOT NULL THEN now() + make_interval(secs => :leased_for)
            WHEN d.due_at >= now() + make_interval(secs => s.longest + :rescue_after::float8 / 3) THEN d.due_at
            ELSE now() + make_interval(secs => s.longest + :rescue_after)
        END,
        reason = CASE WHEN :leased_for::float8 IS NOT NULL THEN 'leased' END
    FROM asked a, receiving s
    WHERE NOT a.expired AND a.payload IS NOT NULL
      AND d.signal_id = a.signal_id AND d.subscription_id = a.subscription_id AND s.id = a.subscription_id
      AND d.signal_id >= (SELECT min(signal_id) FROM given) AND d.signal_id <= (SELECT max(signal_id) FROM given)
      AND d.state IS NOT DISTINCT FROM 'pending' AND d.attempts = a.number - 1
      AND (:admitted::boolean OR NOT s.needs_admission)
    RETURNING a.*, d.redriven, d.steps_done, d.ordering_key IS NOT NULL AS in_group, d.created_at AS owed_at
)
SELECT b.*, s AS subscription,
       CASE WHEN s.previous_secret_until > now() THEN s.previous_secret END AS previous_secret,
       (SELECT array_agg(k.private_key ORDER BY k.id DESC) FROM webhook_keys k
        WHERE k.valid_until IS NULL OR k.valid_until > now()) AS signing_keys
FROM begun b
JOIN subscriptions s ON s.id = b.subscription_id;

-- name: interrupt
-- Note those of the attempts under way as interrupted whose messages (as in `begin`) were handed out again, and whose
-- deliverers are gone: not those of others that were seen in the last seconds, which have lost only their links. Should one of
-- those that are gone come back, the outcome replaces the note. An attempt of the version before has no begun_at.
WITH lost AS (
    SELECT d.signal_id, d.subscription_id, d.attempts, d.begun_at
    FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[]) AS a (signal_id, subscription_id, number)
    JOIN deliveries d ON d.signal_id = a.signal_id AND d.subscription_id = a.subscription_id
    WHERE d.attempts >= a.number AND d.begun_at IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM deliverers w
          WHERE w.id = d.begun_by AND w.id IS DISTINCT FROM :by::bigint AND w.seen_at > now() - make_interval(secs => :gone_after)
      )
      AND NOT EXISTS (
          SELECT FROM attempts t
          WHERE t.signal_id = a.signal_id AND t.subscription_id = a.subscription_id AND t.number >= a.number
            AND t.interrupted IS NOT TRUE OFFSET 0
      )
    ORDER BY d.signal_id, d.subscription_id FOR UPDATE OF d
), noted AS (
    UPDATE deliveries d SET begun_at = NULL, begun_by = NULL, redriven = d.redriven + 1
    FROM lost l WHERE d.signal_id = l.signal_id AND d.subscription_id = l.subscription_id
)
INSERT INTO attempts (signal_id, subscription_id, number, started_at, duration, outcome, interrupted)
SELECT signal_id, subscription_id, attempts, begun_at, 0, 'failed', true FROM lost
ON CONFLICT DO NOTHING;

-- name: note_steps
-- Note the steps that attempts under way have made, and that have succeeded: they are not repeated. Their rows are those of
-- interrupted attempts until they end; meanwhile `list_attempts` and `page` pass over them.
WITH made AS (
    SELECT * FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[], :steps_done::int[],
                         :steps::json[], :exchanges::bytea[])
        AS m (signal_id, subscription_id, number, steps_done, steps, exchanges)
), noted AS (
    UPDATE deliveries d SET steps_done = m.steps_done FROM made m
    WHERE d.signal_id = m.signal_id AND d.subscription_id = m.subscription_id AND d.attempts = m.number
      AND d.begun_at IS NOT NULL AND d.state IS NOT DISTINCT FROM 'pending'
    RETURNING m.*, d.begun_at
)
INSERT INTO attempts AS known (signal_id, subscription_id, number, started_at, duration, outcome, steps, exchanges, interrupted)
SELECT signal_id, subscription_id, number, begun_at, 0, 'failed', steps, exchanges, true FROM noted
ON CONFLICT (signal_id, subscription_id, number) DO UPDATE SET steps = EXCLUDED.steps, exchanges = EXCLUDED.exchanges
WHERE known.interrupted;

-- name: finish
-- End attempts, in ascending order of signals: store the deliveries' new states, and one row an attempt. An attempt that
-- was overtaken, or has ended before, leaves the delivery alone, unless it was overtaken and has succeeded. It is not even
-- stored if its signal was dropped meanwhile.
WITH ended AS MATERIALIZED (
    SELECT * FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[], :states::text[],
                         :pauses::double precision[], :started_at::timestamptz[], :durations::double precision[],
                         :outcomes::text[], :statuses::int[], :errors::text[], :excerpts::text[], :reasons::text[],
                         :steps_done::int[], :steps::json[], :exchanges::bytea[], :uncounted::boolean[])
        AS e (signal_id, subscription_id, number, state, pause, started_at, duration, outcome, status, error, excerpt, reason,
              steps_done, steps, exchanges, uncounted)
    LIMIT cardinality(:signal_ids::bigint[])
), settled AS (
    UPDATE deliveries d
    SET state = e.state,
        due_at = CASE WHEN e.state = 'parked' THEN now() + make_interval(secs => e.pause) END,
        begun_at = CASE WHEN d.attempts > e.number THEN d.begun_at END,
        begun_by = CASE WHEN d.attempts > e.number THEN d.begun_by END,
        reason = e.reason,
        steps_done = e.steps_done,
        redriven = d.redriven + e.uncounted::int,
        finished_at = CASE WHEN e.state = 'parked' THEN NULL ELSE now() END
    FROM ended e
    WHERE d.signal_id = e.signal_id AND d.subscription_id = e.subscription_id
      AND d.signal_id >= (SELECT min(signal_id) FROM ended) AND d.signal_id <= (SELECT max(signal_id) FROM ended)
      AND d.state IS NOT DISTINCT FROM 'pending'
      AND (d.attempts = e.number OR (d.attempts > e.number AND e.state = 'delivered'))
      AND NOT EXISTS (
          SELECT FROM attempts t
          WHERE t.signal_id = e.signal_id AND t.subscription_id = e.subscription_id AND t.number = e.number
            AND t.interrupted IS NOT TRUE OFFSET 0
      )
)
INSERT INTO attempts AS known (signal_id, subscription_id, number, started_at, duration, outcome, status, error, excerpt,
                               steps, exchanges)
SELECT signal_id, subscription_id, number, started_at, duration, outcome, status, error, excerpt, steps, exchanges FROM ended
WHERE EXISTS (SELECT FROM blocks WHERE ended.signal_id >= first_id AND ended.signal_id < next_id)
ON CONFLICT (signal_id, subscription_id, number) DO UPDATE
SET started_at = EXCLUDED.started_at, duration = EXCLUDED.duration, outcome = EXCLUDED.outcome, status = EXCLUDED.status,
    error = EXCLUDED.error, excerpt = EXCLUDED.excerpt, steps = EXCLUDED.steps, exchanges = EXCLUDED.exchanges,
    interrupted = NULL
WHERE known.interrupted;

-- name: cancel
-- Cancel a delivery whose subscription was deleted after the signal was recorded.
UPDATE deliveries
SET state = 'cancelled', due_at = NULL, finished_at = now(), reason = :reason
WHERE signal_id = :signal_id AND subscription_id = :subscription_id AND state IN ('pending', 'parked');
