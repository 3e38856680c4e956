-- name: find
-- How many deliveries of each of the subscriptions are parked, and since when the oldest of these has been owed. (LIMIT 1 makes
-- that a look-up.)
SELECT k.id, counts.parked, oldest.created_at AS oldest
FROM unnest(:subscription_ids::bigint[]) AS k (id)
JOIN (
    SELECT subscription_id, sum(n)::bigint AS parked FROM (
        SELECT subscription_id, n FROM ledger_tallies WHERE subscription_id = ANY (:subscription_ids) AND counted = 'parked'
        UNION ALL
        SELECT subscription_id, n FROM ledger_deltas WHERE subscription_id = ANY (:subscription_ids) AND counted = 'parked'
    ) AS counted GROUP BY subscription_id
) AS counts ON counts.subscription_id = k.id
LEFT JOIN LATERAL (
    SELECT created_at FROM deliveries WHERE subscription_id = k.id AND state = 'parked' ORDER BY signal_id LIMIT 1
) AS oldest ON counts.parked > 0;
