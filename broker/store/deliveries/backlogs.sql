-- name: find
-- How many deliveries of each of the subscriptions are parked, leasable and leased, and since when the oldest of those that
-- are parked or leasable has been owed. Of a pull target (:pulls), what is pending and not leased is leasable. (LIMIT 1 makes
-- the oldest a look-up; only what is leased at this moment is counted.)
SELECT k.id, counts.parked, counts.pending - leased.n AS leasable, leased.n AS leased,
       least(parked.created_at, leasable.created_at) AS oldest
FROM unnest(:subscription_ids::bigint[], :pulls::boolean[]) AS k (id, pulls)
LEFT JOIN (
    SELECT subscription_id, sum(n) FILTER (WHERE counted = 'parked')::bigint AS parked,
           sum(n) FILTER (WHERE counted = 'pending')::bigint AS pending
    FROM (
        SELECT subscription_id, counted, n FROM ledger_tallies
        WHERE subscription_id = ANY (:subscription_ids) AND counted IN ('parked', 'pending')
        UNION ALL
        SELECT subscription_id, counted, n FROM ledger_deltas
        WHERE subscription_id = ANY (:subscription_ids) AND counted IN ('parked', 'pending')
    ) AS counted GROUP BY subscription_id
) AS summed ON summed.subscription_id = k.id
CROSS JOIN LATERAL (
    SELECT coalesce(summed.parked, 0) AS parked, CASE WHEN k.pulls THEN coalesce(summed.pending, 0) ELSE 0 END AS pending
) AS counts
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM deliveries
    WHERE counts.pending > 0 AND subscription_id = k.id AND state = 'pending' AND app = '$pull' AND reason = 'leased'
) AS leased
LEFT JOIN LATERAL (
    SELECT created_at FROM deliveries
    WHERE counts.parked > 0 AND subscription_id = k.id AND state = 'parked' ORDER BY signal_id LIMIT 1
) AS parked ON true
LEFT JOIN LATERAL (
    SELECT created_at FROM deliveries
    WHERE counts.pending > leased.n AND subscription_id = k.id
      AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
    ORDER BY signal_id LIMIT 1
) AS leasable ON true;

-- name: longest_leasable
-- The :limit subscriptions that are not paused and whose deliveries have been waiting longest to be leased: for how many seconds
-- the one of the oldest signal has, since it was owed or since its last attempt ended. (One look-up leads to the next
-- subscription that has any.)
WITH RECURSIVE oldest AS (
    (
        SELECT subscription_id, signal_id, created_at, attempts FROM deliveries
        WHERE state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
        ORDER BY subscription_id, signal_id LIMIT 1
    )
    UNION ALL
    SELECT d.* FROM oldest AS o CROSS JOIN LATERAL (
        SELECT subscription_id, signal_id, created_at, attempts FROM deliveries
        WHERE subscription_id > o.subscription_id AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
        ORDER BY subscription_id, signal_id LIMIT 1
    ) AS d
)
SELECT o.subscription_id,
       extract(epoch FROM now() - greatest(o.created_at, a.started_at + make_interval(secs => a.duration)))::float8 AS seconds
FROM oldest AS o
JOIN subscriptions s ON s.id = o.subscription_id AND s.paused_at IS NULL AND s.disabled_because IS NULL AND s.until IS NULL
LEFT JOIN attempts a ON a.signal_id = o.signal_id AND a.subscription_id = o.subscription_id AND a.number = o.attempts
ORDER BY seconds DESC, o.subscription_id LIMIT :limit;
