-- name: undecided
-- Those of the deliveries that are dead because a filter exceeded its budget (their reason is `exceeded`).
SELECT signal_id, subscription_id FROM deliveries
WHERE (signal_id, subscription_id) IN (SELECT * FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[]))
  AND state = 'dead' AND reason = :exceeded;

-- name: signal
SELECT * FROM signals WHERE id = :signal_id;

-- name: subscriptions
SELECT * FROM subscriptions WHERE id = ANY (:subscription_ids::bigint[]);

-- name: end
-- Cancel deliveries that turned out not to be owed, for :reasons, unless something has become of them meanwhile. Locked in the
-- order of their keys, to avoid deadlocks.
WITH chosen AS (
    SELECT d.signal_id, d.subscription_id, c.reason
    FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :reasons::text[]) AS c (signal_id, subscription_id, reason)
    JOIN deliveries d ON d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id
    WHERE d.state = 'dead' AND d.reason = :exceeded
    ORDER BY d.signal_id, d.subscription_id FOR UPDATE OF d
)
UPDATE deliveries d SET state = 'cancelled', reason = c.reason, finished_at = now()
FROM chosen c WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id;
