-- Deliveries that bulk operations change.

-- name: find
-- Look at the next :limit deliveries in a state (`of_state` is the condition) after (:after_signal_id, :after_subscription_id), of signals up to :last_id and of
-- one subscription or (null) of all, in the order of their keys: which of them are asked for, as far as the conditions
-- `of_subscription` and `of_signal` let them be changed. Null filters are no filters. :names and :permitted_names are regular expressions (see `broker.names.expression`); :outcome and
-- :status are those of the last attempt; :tenants and :untenanted say what belongs to the
-- caller, and what it may read.
-- Two branches, so that each has its index, and LIMIT 1, so that it is a look-up by key, whatever the statistics say.
WITH looked AS MATERIALIZED (
    (SELECT signal_id, subscription_id FROM deliveries
     WHERE :subscription_id::bigint IS NULL AND {of_state}
       AND (signal_id, subscription_id) > (:after_signal_id, :after_subscription_id)
       AND (:last_id::bigint IS NULL OR signal_id <= :last_id)
     ORDER BY signal_id, subscription_id LIMIT :limit)
    UNION ALL
    (SELECT signal_id, subscription_id FROM deliveries
     WHERE subscription_id = :subscription_id::bigint AND {of_state} AND signal_id >= :after_signal_id
       AND (signal_id, subscription_id) > (:after_signal_id, :after_subscription_id)
       AND (:last_id::bigint IS NULL OR signal_id <= :last_id)
     ORDER BY signal_id LIMIT :limit)
)
SELECT l.signal_id, l.subscription_id, statement_timestamp() AS now,
       s.id IS NOT NULL AND g.id IS NOT NULL
       AND (:outcome::text IS NULL AND :status::int IS NULL OR EXISTS (
           SELECT FROM (
               SELECT CASE WHEN interrupted THEN 'interrupted' ELSE outcome END AS outcome, status FROM attempts a
               WHERE a.signal_id = l.signal_id AND a.subscription_id = l.subscription_id ORDER BY number DESC LIMIT 1
           ) AS last
           WHERE (:outcome::text IS NULL OR last.outcome = :outcome) AND (:status::int IS NULL OR last.status = :status)
       )) AS asked
FROM looked l
LEFT JOIN LATERAL (
    SELECT id FROM subscriptions
    WHERE id = l.subscription_id AND {of_subscription}
      AND is_owned(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
    LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT id FROM signals
    WHERE id = l.signal_id AND {of_signal}
      AND is_readable(scope, tenant_id, reach, :tenants, :untenanted::boolean)
      AND (:names::text IS NULL OR '.' || name ~ :names)
      AND (:permitted_names::text IS NULL OR '.' || name ~ :permitted_names)
      AND (:since::timestamptz IS NULL OR created_at >= :since)
      AND (:until::timestamptz IS NULL OR created_at < :until)
    LIMIT 1
) g ON true
ORDER BY l.signal_id, l.subscription_id;
