-- name: grant
-- Note that a receiver permits the webhooks of a subscription, unless that is deleted; the :most latest ones are kept.
WITH forgotten AS (
    DELETE FROM webhook_permissions WHERE subscription_id = :subscription_id AND receiver IN (
        SELECT receiver FROM webhook_permissions WHERE subscription_id = :subscription_id AND receiver <> :receiver
        ORDER BY granted_at DESC OFFSET :most::int - 1
    )
)
INSERT INTO webhook_permissions (subscription_id, receiver)
SELECT id, :receiver FROM subscriptions WHERE id = :subscription_id AND until IS NULL
ON CONFLICT (subscription_id, receiver) DO UPDATE SET granted_at = now()
RETURNING subscription_id;

-- name: is_granted
SELECT granted_at FROM webhook_permissions WHERE subscription_id = :subscription_id AND receiver = :receiver;
