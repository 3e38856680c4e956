-- name: unrecorded
-- Which of the signals are not recorded, each with whether it has expired. (OFFSET 0 makes it a look-up by key whatever the
-- statistics say.)
SELECT s.id, s.expires_at IS NOT NULL AND s.expires_at <= now() AS expired
FROM unnest(:ids::bigint[], :expiries::timestamptz[]) AS s (id, expires_at)
WHERE NOT EXISTS (SELECT FROM matches WHERE signal_id = s.id OFFSET 0);

-- name: taken
-- Those of the ids that other signals have: their names or moments differ.
SELECT s.id FROM unnest(:ids::bigint[], :names::text[], :created_at::timestamptz[]) AS k (id, name, created_at), LATERAL (
    SELECT id, name, created_at FROM signals WHERE id = k.id OFFSET 0
) AS s
WHERE s.name <> k.name OR s.created_at <> k.created_at;

-- name: insert_matches
-- Note the subscriptions that each signal is owed to (a JSON list for each). A signal that another recorder noted just now
-- is not returned. (`given` hides the lengths of the arrays, as in `number` in signals.sql.)
WITH given AS MATERIALIZED (
    SELECT :signal_ids::bigint[] AS signal_ids, :subscription_ids::json[] AS subscription_ids
)
INSERT INTO matches (signal_id, subscription_ids)
SELECT m.signal_id, ARRAY(SELECT json_array_elements_text(m.ids)::bigint)
FROM given g, unnest(g.signal_ids, g.subscription_ids) AS m (signal_id, ids)
ON CONFLICT (signal_id) DO NOTHING
RETURNING signal_id;

-- part: insert_noted
-- Record those signals that are `noted`. This is the last step of a recording, and the lock is held until the recording is
-- committed and visible: positions become visible in ascending order, so a reader that has read up to one never misses a
-- lower one. Signals that came in through endpoints are counted by name and day.
lock AS MATERIALIZED (
    SELECT pg_advisory_xact_lock({locks.RECORDING}) FROM done
), recorded AS (
    INSERT INTO signals (id, created_at, name, scope, tenant_id, execution_id, reach, payload, types,
                         source, source_id, token_id, business_key, traceparent, ordering_key, deliver_at, expires_at,
                         state, due_at, hops, tracestate, position, recorded_at)
    SELECT s.*, nextval('signal_positions'), clock_timestamp()
    FROM lock, unnest(
        :ids::bigint[], :created_at::timestamptz[], :names::text[], :scopes::text[], :tenant_ids::text[],
        :execution_ids::text[], :audiences::json[], :payloads::text[], :types::text[], :sources::text[],
        :source_ids::bigint[], :token_ids::bigint[], :business_keys::text[], :traceparents::text[], :ordering_keys::text[],
        :deliver_at::timestamptz[], :expires_at::timestamptz[], :states::text[], :due_at::timestamptz[],
        :hops::int[], :tracestates::text[]
    ) AS s (id)
    WHERE (s.id IN (SELECT signal_id FROM noted)) IS TRUE
    RETURNING id, created_at, name, source
), counted AS (
    INSERT INTO endpoint_days AS known (name, day, signals, first_id, last_id)
    SELECT name, (created_at AT TIME ZONE 'UTC')::date, count(*), min(id), max(id)
    FROM recorded WHERE source = 'signal-endpoint' GROUP BY 1, 2
    ON CONFLICT (name, day) DO UPDATE SET
        signals = known.signals + EXCLUDED.signals,
        first_id = least(known.first_id, EXCLUDED.first_id),
        last_id = greatest(known.last_id, EXCLUDED.last_id)
)

-- name: insert_signals
-- Record signals that are noted.
WITH noted AS (
    SELECT unnest(:ids::bigint[]) AS signal_id
), done AS (
    SELECT
), {parts.insert_noted}
SELECT;

-- name: record_plain
-- Record signals with what is owed to them, a delivery for each of the pairs: one that has a reason to wait is parked, and
-- another one is rescued after `rescue_after` seconds. Nothing is recorded if one of the subscriptions has been changed
-- since it had its version, and no signal that is recorded already, or that another recorder records just now. Those that
-- are recorded now are returned. (`done`: the lock is taken last. `IS TRUE`: PostgreSQL hashes `noted`.)
WITH noted AS (
    INSERT INTO matches (signal_id, subscription_ids)
    SELECT m.signal_id, ARRAY(SELECT json_array_elements_text(m.owed_to)::bigint)
    FROM unnest(:ids::bigint[], :owed_to::json[]) AS m (signal_id, owed_to)
    WHERE NOT EXISTS (
        SELECT FROM unnest(:subscription_ids::bigint[], :versions::xid[]) AS c (key, version)
        JOIN subscriptions s ON s.id = c.key AND s.xmin <> c.version
    )
    ON CONFLICT (signal_id) DO NOTHING
    RETURNING signal_id
), owed AS (
    INSERT INTO deliveries (signal_id, subscription_id, app, state, reason, due_at, expires_at)
    SELECT d.signal_id, d.subscription_id, d.app, CASE WHEN d.reason IS NULL THEN 'pending' ELSE 'parked' END, d.reason,
           CASE WHEN d.reason IS NULL THEN now() + make_interval(secs => :rescue_after) END, NULL
    FROM unnest(:owing_ids::bigint[], :owed_ids::bigint[], :apps::text[], :reasons::text[])
        AS d (signal_id, subscription_id, app, reason)
    WHERE (d.signal_id IN (SELECT signal_id FROM noted)) IS TRUE
    RETURNING 1
), done AS (
    SELECT count(*) FROM owed
), {parts.insert_noted}
SELECT signal_id FROM noted;

-- name: unbegun
-- Up to `limit` pending deliveries without an attempt, whose messages may never have been published. (The scheduler rescues
-- the others.)
SELECT signal_id, subscription_id, 1 AS attempt, app FROM deliveries
WHERE signal_id = ANY (:signal_ids::bigint[]) AND state IS NOT DISTINCT FROM 'pending' AND attempts = 0
LIMIT :limit;
