-- What callers lease, and workers of Camunda 7's external tasks fetch. `leased`: its lease ends at `due_at`.

-- name: subscriptions
-- At most :limit of the subscriptions with a pull target, of this id or this name, unless these are null. The other parameters say whose the caller may see.
SELECT * FROM subscriptions
WHERE app_of(kind, address) = '$pull' AND until IS NULL
  AND (:id::bigint IS NULL OR id = :id) AND (:name::text IS NULL OR name = :name)
  AND is_owned(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
  AND is_permitted(name, is_pattern, :permitted_names::text, :permitted_patterns::text[])
ORDER BY id LIMIT :limit;

-- name: find
-- The deliveries of some subscriptions with pull targets that are owed or dead, after the first :first: at most :most, in the order
-- of their ids, or the opposite one. They are those that are :leasable, :leased (by :worker, until a moment from :since to
-- :until, unless these are null), :parked and :dead. (Each part is in the order of an index, which is not read any further.)
WITH d AS MATERIALIZED (
    SELECT found.* FROM unnest(:subscription_ids::bigint[]) AS s (id), LATERAL (
        (SELECT signal_id, subscription_id, state, attempts, redriven, created_at, due_at, false AS leased FROM deliveries
         WHERE :leasable::boolean AND subscription_id = s.id AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
         ORDER BY subscription_id {direction}, signal_id {direction} LIMIT :first::bigint + :most::bigint)
        UNION ALL
        (SELECT signal_id, subscription_id, state, attempts, redriven, created_at, due_at, false AS leased FROM deliveries
         WHERE :parked::boolean AND subscription_id = s.id AND state = 'parked'
         ORDER BY subscription_id {direction}, signal_id {direction} LIMIT :first::bigint + :most::bigint)
        UNION ALL
        (SELECT signal_id, subscription_id, state, attempts, redriven, created_at, due_at, false AS leased FROM deliveries
         WHERE :dead::boolean AND subscription_id = s.id AND state = 'dead'
         ORDER BY subscription_id {direction}, signal_id {direction} LIMIT :first::bigint + :most::bigint)
    ) AS found
    UNION ALL
    SELECT d.signal_id, d.subscription_id, d.state, d.attempts, d.redriven, d.created_at, d.due_at, true AS leased FROM deliveries d
    WHERE :leased::boolean AND d.subscription_id = ANY (:subscription_ids) AND d.state = 'pending' AND d.app = '$pull'
      AND d.due_at >= coalesce(:since, '-infinity'::timestamptz) AND d.due_at <= coalesce(:until, 'infinity'::timestamptz)
      AND d.reason IS NOT DISTINCT FROM 'leased'
      AND (:worker::text IS NULL OR EXISTS (
          SELECT FROM leases l WHERE l.signal_id = d.signal_id AND l.subscription_id = d.subscription_id AND l.number = d.attempts AND l.worker = :worker
      ))
    ORDER BY signal_id {direction}, subscription_id {direction} LIMIT :most OFFSET :first
)
SELECT d.*, l.worker, g.business_key, g.execution_id, a.error
FROM d
LEFT JOIN leases l ON d.leased AND l.signal_id = d.signal_id AND l.subscription_id = d.subscription_id AND l.number = d.attempts
LEFT JOIN signals g ON g.id = d.signal_id
LEFT JOIN attempts a ON a.signal_id = d.signal_id AND a.subscription_id = d.subscription_id AND a.number = d.attempts - d.leased::int
ORDER BY d.signal_id {direction}, d.subscription_id {direction};

-- name: count
-- How many `find` has in all.
SELECT count(*) FROM (
    SELECT FROM unnest(:subscription_ids::bigint[]) AS s (id), LATERAL (
        (SELECT signal_id, subscription_id, state, attempts, redriven, created_at, due_at, false AS leased FROM deliveries
         WHERE :leasable::boolean AND subscription_id = s.id AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased')
        UNION ALL
        (SELECT signal_id, subscription_id, state, attempts, redriven, created_at, due_at, false AS leased FROM deliveries
         WHERE :parked::boolean AND subscription_id = s.id AND state = 'parked')
        UNION ALL
        (SELECT signal_id, subscription_id, state, attempts, redriven, created_at, due_at, false AS leased FROM deliveries
         WHERE :dead::boolean AND subscription_id = s.id AND state = 'dead')
    ) AS found
    UNION ALL
    SELECT FROM (
    SELECT d.signal_id, d.subscription_id, d.state, d.attempts, d.redriven, d.created_at, d.due_at, true AS leased FROM deliveries d
    WHERE :leased::boolean AND d.subscription_id = ANY (:subscription_ids) AND d.state = 'pending' AND d.app = '$pull'
      AND d.due_at >= coalesce(:since, '-infinity'::timestamptz) AND d.due_at <= coalesce(:until, 'infinity'::timestamptz)
      AND d.reason IS NOT DISTINCT FROM 'leased'
      AND (:worker::text IS NULL OR EXISTS (
          SELECT FROM leases l WHERE l.signal_id = d.signal_id AND l.subscription_id = d.subscription_id AND l.number = d.attempts AND l.worker = :worker
      ))
    ) AS lent
) AS d;

-- name: of_keys
-- Those of the deliveries with these keys that are owed or dead.
WITH d AS MATERIALIZED (
    SELECT d.signal_id, d.subscription_id, d.state, d.attempts, d.redriven, d.created_at, d.due_at,
           d.state = 'pending' AND d.reason IS NOT DISTINCT FROM 'leased' AS leased
    FROM unnest(:signal_ids::bigint[], :ids::bigint[]) AS k (signal_id, subscription_id)
    JOIN deliveries d ON d.signal_id = k.signal_id AND d.subscription_id = k.subscription_id
    WHERE k.subscription_id = ANY (:subscription_ids::bigint[]) AND d.state IN ('pending', 'parked', 'dead')
)
SELECT d.*, l.worker, g.business_key, g.execution_id, a.error
FROM d
LEFT JOIN leases l ON d.leased AND l.signal_id = d.signal_id AND l.subscription_id = d.subscription_id AND l.number = d.attempts
LEFT JOIN signals g ON g.id = d.signal_id
LEFT JOIN attempts a ON a.signal_id = d.signal_id AND a.subscription_id = d.subscription_id AND a.number = d.attempts - d.leased::int;

-- name: of_executions
-- At most :limit deliveries of some subscriptions that are owed or dead, of signals to some executions.
WITH d AS MATERIALIZED (
    SELECT d.signal_id, d.subscription_id, d.state, d.attempts, d.redriven, d.created_at, d.due_at,
           d.state = 'pending' AND d.reason IS NOT DISTINCT FROM 'leased' AS leased
    FROM signals g JOIN deliveries d ON d.signal_id = g.id
    WHERE g.execution_id = ANY (:execution_ids::text[]) AND d.subscription_id = ANY (:subscription_ids::bigint[])
      AND d.state IN ('pending', 'parked', 'dead')
    ORDER BY d.signal_id, d.subscription_id LIMIT :limit
)
SELECT d.*, l.worker, g.business_key, g.execution_id, a.error
FROM d
LEFT JOIN leases l ON d.leased AND l.signal_id = d.signal_id AND l.subscription_id = d.subscription_id AND l.number = d.attempts
LEFT JOIN signals g ON g.id = d.signal_id
LEFT JOIN attempts a ON a.signal_id = d.signal_id AND a.subscription_id = d.subscription_id AND a.number = d.attempts - d.leased::int;

-- name: errors
-- What attempts failed of: the error of each that has one.
SELECT a.signal_id, a.subscription_id, a.error
FROM unnest(:signal_ids::bigint[], :ids::bigint[], :numbers::int[]) AS k (signal_id, subscription_id, number)
JOIN attempts a ON a.signal_id = k.signal_id AND a.subscription_id = k.subscription_id AND a.number = k.number
WHERE a.error IS NOT NULL;
