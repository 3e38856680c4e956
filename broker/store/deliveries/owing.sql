-- name: consume
-- Let each signal consume its `once` subscription, unless that is consumed already. If the signal expires before it is
-- delivered, the subscription is freed: see expiring.sql.
WITH wanted AS (
    SELECT s.id, w.signal_id, w.expires_at
    FROM unnest(:subscription_ids::bigint[], :signal_ids::bigint[], :expires_at::timestamptz[])
        AS w (subscription_id, signal_id, expires_at)
    JOIN subscriptions s ON s.id = w.subscription_id
    WHERE s.consumed_by IS NULL
    ORDER BY s.id
    FOR UPDATE OF s
)
UPDATE subscriptions s SET consumed_by = w.signal_id, consumed_until = w.expires_at
FROM wanted w WHERE s.id = w.id AND s.consumed_by IS NULL
RETURNING s.id;

-- name: insert
-- Insert deliveries. A pending one is rescued after :rescue_after seconds.
INSERT INTO deliveries (signal_id, subscription_id, state, reason, due_at, finished_at, ordering_key, app, expires_at)
SELECT signal_id, subscription_id, state, reason,
       CASE WHEN state = 'pending' THEN now() + make_interval(secs => :rescue_after) ELSE due_at END,
       CASE WHEN state IN ('cancelled', 'dead') THEN now() END,
       ordering_key, app, expires_at
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :states::text[], :reasons::text[], :due_at::timestamptz[],
            :ordering_keys::text[], :apps::text[], :expires_at::timestamptz[])
    AS d (signal_id, subscription_id, state, reason, due_at, ordering_key, app, expires_at);
