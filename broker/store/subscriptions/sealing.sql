-- name: is_on
SELECT EXISTS (SELECT FROM sealing);

-- name: begin
-- From now on subscriptions are stored with their credentials sealed.
INSERT INTO sealing SELECT WHERE NOT EXISTS (SELECT FROM sealing);

-- name: lock_subscriptions
-- Lock the next :limit subscriptions after the id :after.
SELECT *, until IS NULL AS lives, coalesce(previous_secret_until > now(), false) AS keeps_previous FROM subscriptions
WHERE id > :after ORDER BY id LIMIT :limit FOR UPDATE;

-- name: save_subscription
-- Store what is sealed of a locked subscription, and what is left of its targets in clear.
UPDATE subscriptions
SET address = :address, headers = :headers, steps = :steps, sealed = :sealed, secret = :secret, previous_secret = :previous_secret
WHERE id = :id;

-- name: lock_keys
-- Lock the keys that sign webhooks, or did.
SELECT id, private_key, valid_until IS NULL OR valid_until > now() AS signs FROM webhook_keys ORDER BY id FOR UPDATE;

-- name: save_key
UPDATE webhook_keys SET private_key = :private_key WHERE id = :id;

-- name: changes
-- The next :limit audited changes of subscriptions after the id :after.
SELECT id, before, after FROM audit_events
WHERE type = 'subscription-updated' AND id > :after ORDER BY id LIMIT :limit FOR UPDATE;

-- name: save_change
UPDATE audit_events SET before = :before, after = :after WHERE id = :id;

-- name: forget_circuits
-- Forget the circuits of earlier versions, which have URLs as they are.
DELETE FROM circuits WHERE subscription_id IS NULL;

-- name: with_targets
-- What of each subscription might hold credentials in clear.
SELECT kind, address, headers, steps, sealed, method, body_template, signatures, format, request_origin FROM subscriptions
WHERE kind = 'webhook' OR steps IS NOT NULL;

-- name: sealed_subscriptions
-- What the next :limit subscriptions after the id :after hold sealed, without previous secrets that sign no longer. One that was
-- deleted needs nothing: its deliveries are cancelled, and not attempted.
SELECT id, kind, sealed, steps, secret, CASE WHEN previous_secret_until > now() THEN previous_secret END AS previous_secret
FROM subscriptions
WHERE id > :after AND until IS NULL ORDER BY id LIMIT :limit;

-- name: sealed_keys
-- The keys that sign webhooks now, sealed.
SELECT id, private_key FROM webhook_keys WHERE valid_until IS NULL OR valid_until > now() ORDER BY id;
