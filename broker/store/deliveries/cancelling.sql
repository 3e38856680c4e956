-- name: cancel
-- Cancel those of the deliveries that are still in :state, because of :reason. `once` subscriptions that their signals
-- consumed wait for others.
-- Locked in the order of their keys, deliveries before subscriptions, to avoid deadlocks.
WITH found AS (
    SELECT d.signal_id, d.subscription_id
    FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[]) AS c (signal_id, subscription_id)
    JOIN deliveries d ON d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id
    WHERE d.state = :state
    ORDER BY d.signal_id, d.subscription_id FOR UPDATE OF d
), cancelled AS (
    UPDATE deliveries d SET state = 'cancelled', due_at = NULL, finished_at = now(), reason = :reason
    FROM found f WHERE d.signal_id = f.signal_id AND d.subscription_id = f.subscription_id
    RETURNING d.signal_id, d.subscription_id
), consumed AS (
    SELECT s.id FROM subscriptions s JOIN cancelled c ON c.subscription_id = s.id AND c.signal_id = s.consumed_by
    ORDER BY s.id FOR UPDATE OF s
), freed AS (
    UPDATE subscriptions s SET consumed_by = NULL FROM consumed c WHERE s.id = c.id
)
SELECT count(*) FROM cancelled;
