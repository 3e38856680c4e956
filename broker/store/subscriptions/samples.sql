-- name: ask
-- Ask the workers of a subscription to try its target with a payload, unless :most are under way. Old samples that were never
-- collected are deleted.
WITH forgotten AS (
    DELETE FROM samples WHERE asked_at < now() - interval '10 minutes'
)
INSERT INTO samples (subscription_id, app, payload)
SELECT s.id, app_of(s.kind, s.address), :payload
FROM subscriptions s
WHERE s.id = :subscription_id AND (
    SELECT count(*) FROM samples WHERE subscription_id = :subscription_id AND asked_at > now() - make_interval(secs => :within)
) < :most
RETURNING id, pg_notify('samples', '');

-- name: take
-- Take the oldest sample of one of the apps that was asked for within the last seconds, with all that an attempt takes.
WITH taken AS (
    UPDATE samples SET taken_at = clock_timestamp()
    WHERE id = (
        SELECT id FROM samples
        WHERE taken_at IS NULL AND app = ANY (:apps::text[]) AND asked_at > now() - make_interval(secs => :within)
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING *
)
SELECT t.id, t.payload, t.asked_at, s AS subscription,
       CASE WHEN s.previous_secret_until > now() THEN s.previous_secret END AS previous_secret,
       (SELECT array_agg(k.private_key ORDER BY k.id DESC) FROM webhook_keys k
        WHERE k.valid_until IS NULL OR k.valid_until > now()) AS signing_keys
FROM taken t JOIN subscriptions s ON s.id = t.subscription_id;

-- name: answer
-- Note what a sample came to.
UPDATE samples SET answer = :answer::json WHERE id = :id;

-- name: look
-- Whether a sample was taken, and what it came to, if it has.
SELECT taken_at IS NOT NULL AS taken, answer FROM samples WHERE id = :id;

-- name: remove
-- Remove a sample.
DELETE FROM samples WHERE id = :id;
