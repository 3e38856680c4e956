-- What the statistics tell: see folding.sql, broker/statistics.py and docs/statistics.md. Spans are of minutes or hours (seconds), each with its
-- begin and its end.

-- name: progress
SELECT added_up_until FROM statistics_progress;

-- name: rank
-- The :most keys of a kind to which most happened.
SELECT key::text FROM (
    SELECT r.{column} AS key, sum(accepted + recorded + delivered + dead + retried) AS n
    FROM unnest(:seconds::int[], :since::timestamptz[], :until::timestamptz[]) AS p (seconds, since, until), LATERAL (
        SELECT * FROM statistics WHERE seconds = p.seconds AND kind = :kind AND at >= p.since AND at < p.until OFFSET 0
    ) AS r
    GROUP BY r.{column}
) AS counted
ORDER BY n DESC, key LIMIT :most;

-- name: rows
-- The rows of each of the keys.
SELECT k.key, r.at, r.accepted, r.recorded, r.delivered, r.dead, r.retried, r.latency_classes AS classes, r.latency_counts AS counts
FROM unnest(:keys::text[]) AS k (key)
CROSS JOIN unnest(:seconds::int[], :since::timestamptz[], :until::timestamptz[]) AS p (seconds, since, until), LATERAL (
    SELECT * FROM statistics WHERE seconds = p.seconds AND kind = :kind AND at >= p.since AND at < p.until AND {of_key} OFFSET 0
) AS r
ORDER BY r.at, k.key;

-- name: steps_seen
-- The figures of each step of :step seconds, of what a caller sees and the filters (null: none) let through, with the :most keys to which most happened. What is
-- accepted and recorded is told of signals, or (:owed) of what is owed to subscriptions.
WITH spans AS (
    SELECT * FROM unnest(:seconds::int[], :since::timestamptz[], :until::timestamptz[]) AS p (seconds, since, until)
), seen AS MATERIALIZED (
    SELECT id, coalesce(tenant_id, '') AS tenant FROM subscriptions
    WHERE (:subscription_id::bigint IS NULL OR id = :subscription_id)
      AND (:tenant_id::text IS NULL OR tenant_id = :tenant_id)
      AND is_seen(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
      AND is_permitted(name, is_pattern, :permitted_names::text, :permitted_patterns::text[])
), chosen AS MATERIALIZED (
    SELECT ({of_delivery})::text AS key, date_bin(make_interval(secs => :step), r.at, '2000-01-01Z') AS step,
           CASE WHEN :owed::boolean THEN accepted ELSE 0 END AS accepted, CASE WHEN :owed THEN recorded ELSE 0 END AS recorded,
           delivered, dead, retried, latency_classes, latency_counts
    FROM seen s CROSS JOIN spans p, LATERAL (
        SELECT * FROM statistics
        WHERE seconds = p.seconds AND kind = 'subscription' AND subscription_id = s.id AND tenant = ''
          AND at >= p.since AND at < p.until AND (:name::text IS NULL OR name = :name) OFFSET 0
    ) AS r
    UNION ALL
    SELECT ({of_signal})::text, date_bin(make_interval(secs => :step), r.at, '2000-01-01Z'), accepted, recorded, 0, 0, 0, NULL, NULL
    FROM spans p, LATERAL (
        SELECT * FROM statistics
        WHERE NOT :owed AND seconds = p.seconds AND kind = 'signals' AND at >= p.since AND at < p.until
          AND (:tenants IS NULL OR tenant = ANY (:tenants)) AND (:tenant_id IS NULL OR tenant = :tenant_id)
          AND (:permitted_names IS NULL OR ('.' || name) ~ :permitted_names) AND (:name IS NULL OR name = :name) OFFSET 0
    ) AS r
), top AS MATERIALIZED (
    SELECT key FROM chosen GROUP BY key ORDER BY sum(accepted + recorded + delivered + dead + retried) DESC, key LIMIT :most
), latencies AS (
    SELECT key, step, array_agg(class ORDER BY class) AS classes, array_agg(n ORDER BY class) AS counts
    FROM (
        SELECT key, step, class, sum(n)::bigint AS n
        FROM chosen JOIN top USING (key), unnest(latency_classes, latency_counts) AS l (class, n) GROUP BY key, step, class
    ) AS merged
    GROUP BY key, step
)
SELECT c.key, c.step AS at, c.accepted, c.recorded, c.delivered, c.dead, c.retried, l.classes, l.counts
FROM (
    SELECT key, step, sum(accepted)::bigint AS accepted, sum(recorded)::bigint AS recorded, sum(delivered)::bigint AS delivered,
           sum(dead)::bigint AS dead, sum(retried)::bigint AS retried
    FROM chosen JOIN top USING (key) GROUP BY key, step
) AS c LEFT JOIN latencies l ON l.key = c.key AND l.step = c.step
ORDER BY c.step, c.key;

-- name: rates
-- How many deliveries of each of the subscriptions were delivered, and how many died, in the last hour and in the last 24.
WITH moments AS MATERIALIZED (
    SELECT added_up_until, date_bin('1 minute', now(), '2000-01-01Z') - interval '1 hour' AS hour_ago,
           date_bin('1 minute', now(), '2000-01-01Z') - interval '1 day' AS day_ago,
           date_bin('1 hour', now(), '2000-01-01Z') - interval '23 hours' AS first_hour
    FROM statistics_progress
), spans AS (
    SELECT s.* FROM moments, LATERAL (
        VALUES ('hour', 60, hour_ago, 'infinity'),
               ('day', 60, day_ago, first_hour), ('day', 3600, first_hour, added_up_until),
               ('day', 60, greatest(first_hour, added_up_until), 'infinity')
    ) AS s (of, seconds, since, until)
)
SELECT k.id, coalesce(sum(delivered) FILTER (WHERE of = 'hour'), 0)::bigint AS delivered_in_hour,
       coalesce(sum(dead) FILTER (WHERE of = 'hour'), 0)::bigint AS dead_in_hour,
       coalesce(sum(delivered) FILTER (WHERE of = 'day'), 0)::bigint AS delivered_in_day,
       coalesce(sum(dead) FILTER (WHERE of = 'day'), 0)::bigint AS dead_in_day
FROM unnest(:subscription_ids::bigint[]) AS k (id) CROSS JOIN spans p, LATERAL (
    SELECT * FROM statistics
    WHERE seconds = p.seconds AND kind = 'subscription' AND subscription_id = k.id AND tenant = ''
      AND at >= p.since AND at < p.until OFFSET 0
) AS r
GROUP BY k.id;
