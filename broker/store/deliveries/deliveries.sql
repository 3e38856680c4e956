-- name: release
-- Put at most :limit deliveries whose pause is over, after the first :offset, back to pending; any number of schedulers may do
-- this at once. They are
-- rescued after :rescue_after seconds. For those that join their ordering group at their signal's moment see ordering.sql.
WITH due AS (
    SELECT signal_id, subscription_id FROM deliveries
    WHERE state = 'parked' AND due_at <= now() AND (ordering_key IS NULL OR reason <> 'scheduled')
    ORDER BY due_at LIMIT :limit OFFSET :offset FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET state = 'pending', due_at = now() + make_interval(secs => :rescue_after)
FROM due WHERE d.signal_id = due.signal_id AND d.subscription_id = due.subscription_id
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app;

-- name: find_due
-- At most :limit subscriptions after :after_id that have deliveries to `release`, with their apps and tenants. However many deliveries
-- they have, each subscription costs two look-ups.
WITH RECURSIVE parked AS (
    (SELECT subscription_id AS id FROM deliveries WHERE state = 'parked' AND due_at IS NOT NULL AND subscription_id > :after_id
     ORDER BY subscription_id LIMIT 1)
    UNION ALL
    SELECT following.id FROM parked p CROSS JOIN LATERAL (
        SELECT subscription_id AS id FROM deliveries
        WHERE state = 'parked' AND due_at IS NOT NULL AND subscription_id > p.id ORDER BY subscription_id LIMIT 1
    ) AS following
)
SELECT p.id AS subscription_id, belongs_to(s.tenant_id, s.owner_tenants) AS tenants,
       app_of(s.kind, s.address) AS app
FROM parked p JOIN subscriptions s ON s.id = p.id
WHERE EXISTS (
    SELECT FROM deliveries d
    WHERE d.subscription_id = p.id AND d.state = 'parked' AND d.due_at <= now()
      AND (d.ordering_key IS NULL OR d.reason <> 'scheduled')
    OFFSET 0
)
LIMIT :limit;

-- name: release_of
-- Like `release`, at most so many of each of the subscriptions as :limits says.
WITH due AS (
    SELECT waiting.* FROM unnest(:subscription_ids::bigint[], :limits::int[]) AS s (id, most) CROSS JOIN LATERAL (
        SELECT d.signal_id, d.subscription_id FROM deliveries d
        WHERE d.subscription_id = s.id AND d.state = 'parked' AND d.due_at <= now()
          AND (d.ordering_key IS NULL OR d.reason <> 'scheduled')
        ORDER BY d.due_at LIMIT s.most FOR UPDATE SKIP LOCKED
    ) AS waiting
)
UPDATE deliveries d SET state = 'pending', due_at = now() + make_interval(secs => :rescue_after)
FROM due WHERE d.signal_id = due.signal_id AND d.subscription_id = due.subscription_id
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app;

-- name: count_overdue
-- How many pending deliveries should have been attempted by now, counted up to :limit, of each app that has any ('': of none).
SELECT apps.app, o.n
FROM (SELECT '' AS app UNION SELECT split_part(address, '/', 1) FROM subscriptions WHERE kind = 'handler') AS apps
CROSS JOIN LATERAL (
    SELECT count(*) AS n
    FROM (SELECT FROM deliveries d WHERE d.app = apps.app AND d.state = 'pending' AND d.due_at <= now() LIMIT :limit) AS found
) AS o
WHERE o.n > 0;

-- name: oldest_pending
-- How many seconds ago the oldest message of a pending delivery was published; null without one. Those whose attempt is
-- under way are due later.
SELECT extract(epoch FROM now() - min(oldest.due_at) + make_interval(secs => :rescue_after))::float8
FROM (SELECT '' AS app UNION SELECT split_part(address, '/', 1) FROM subscriptions WHERE kind = 'handler') AS apps
CROSS JOIN LATERAL (
    SELECT due_at FROM deliveries d WHERE d.app = apps.app AND d.state = 'pending' ORDER BY due_at LIMIT 1
) AS oldest;

-- name: most_dead
-- The :limit subscriptions with most dead deliveries.
SELECT subscription_id, sum(n)::bigint AS n
FROM (
    SELECT subscription_id, n FROM ledger_tallies WHERE counted = 'dead' AND subscription_id <> 0
    UNION ALL
    SELECT subscription_id, n FROM ledger_deltas WHERE counted = 'dead' AND subscription_id <> 0
) AS counts
GROUP BY subscription_id
HAVING sum(n) > 0
ORDER BY n DESC, subscription_id LIMIT :limit;

-- name: count_late
-- How many parked deliveries should have been released :by seconds ago.
SELECT count(*) FROM deliveries WHERE state = 'parked' AND due_at <= now() - make_interval(secs => :by);

-- name: rescue
-- Take at most :limit pending deliveries of an app, after the first :offset, that should have been attempted by now: their
-- messages must be lost.
-- `begun`: whether an attempt had begun and not ended; it is noted as interrupted.
WITH lost AS (
    SELECT signal_id, subscription_id, attempts, begun_at FROM deliveries
    WHERE app = :app AND state = 'pending' AND due_at <= now()
    ORDER BY due_at LIMIT :limit OFFSET :offset FOR UPDATE SKIP LOCKED
), interrupted AS (
    INSERT INTO attempts (signal_id, subscription_id, number, started_at, duration, outcome, interrupted)
    SELECT signal_id, subscription_id, attempts, begun_at, 0, 'failed', true FROM lost WHERE begun_at IS NOT NULL
    ON CONFLICT DO NOTHING
)
UPDATE deliveries d
SET due_at = now() + make_interval(secs => :rescue_after), begun_at = NULL,
    redriven = d.redriven + (lost.begun_at IS NOT NULL)::int
FROM lost WHERE d.signal_id = lost.signal_id AND d.subscription_id = lost.subscription_id
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app, lost.begun_at IS NOT NULL AS begun;

-- name: get
-- A delivery with the signal's name, whether the caller may read it, and change it, and, as a clause, why another attempt would
-- not be made.
SELECT d.*, g.name AS signal_name, s.tenant_id, s.kind, s.address, s.method, s.headers, s.body_template, s.signatures, s.format,
       s.request_origin, s.steps, s.sealed,
       is_seen(s.tenant_id, s.owner_tenants, :tenants::text[], :untenanted::boolean)
           AND is_readable(g.scope, g.tenant_id, g.reach, :tenants, :untenanted) AS readable,
       is_owned(s.tenant_id, s.owner_tenants, :tenants, :untenanted) AS owned,
       CASE WHEN s.until IS NOT NULL THEN 'the subscription was deleted'
            WHEN s.disabled_because IS NOT NULL THEN 'the subscription is disabled, and has to be resumed first'
            WHEN g.state = 'cancelled' THEN 'the signal was cancelled'
            WHEN g.expires_at <= now() THEN 'the signal has expired'
       END AS hopeless
FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id JOIN signals g ON g.id = d.signal_id
WHERE d.signal_id = :signal_id AND d.subscription_id = :subscription_id;

-- name: list_attempts
-- The attempts at a delivery, without one under way that has noted its first steps.
SELECT a.* FROM attempts a JOIN deliveries d ON d.signal_id = a.signal_id AND d.subscription_id = a.subscription_id
WHERE a.signal_id = :signal_id AND a.subscription_id = :subscription_id
  AND (a.interrupted AND a.number = d.attempts AND d.begun_at IS NOT NULL) IS NOT TRUE
ORDER BY a.number;

-- name: cancel
-- Cancel a dead or parked delivery, or one that waits to be leased. A `once` subscription that its signal consumed waits for
-- another one.
WITH cancelled AS (
    UPDATE deliveries SET state = 'cancelled', due_at = NULL, finished_at = now(), reason = :reason
    WHERE signal_id = :signal_id AND subscription_id = :subscription_id
      AND (state IN ('dead', 'parked') OR (state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'))
    RETURNING signal_id, subscription_id
), freed AS (
    UPDATE subscriptions s SET consumed_by = NULL
    FROM cancelled c WHERE s.id = c.subscription_id AND s.consumed_by = c.signal_id
)
SELECT signal_id FROM cancelled;

-- name: ledger
-- The books in one snapshot, of one subscription or (null) of all. Signals are always counted for all.
SELECT counted, sum(n)::bigint AS n
FROM (
    SELECT counted, n FROM ledger_tallies
    WHERE subscription_id = coalesce(:subscription_id::bigint, 0) OR (subscription_id = 0 AND counted = 'recorded')
    UNION ALL
    SELECT counted, n FROM ledger_deltas
    WHERE :subscription_id::bigint IS NULL OR subscription_id = :subscription_id OR counted = 'recorded'
) AS counts
GROUP BY counted;

-- name: ledger_of_caller
-- The books in one snapshot, of the subscriptions that a caller sees: see the functions.
SELECT counted, sum(n)::bigint AS n
FROM (
    SELECT subscription_id, counted, n FROM ledger_tallies WHERE subscription_id <> 0
    UNION ALL
    SELECT subscription_id, counted, n FROM ledger_deltas
) AS counts
WHERE EXISTS (
    SELECT FROM subscriptions s
    WHERE s.id = counts.subscription_id
      AND is_seen(s.tenant_id, s.owner_tenants, :tenants::text[], :untenanted::boolean)
      AND is_permitted(s.name, s.is_pattern, :permitted_names::text, :permitted_patterns::text[])
)
GROUP BY counted;
