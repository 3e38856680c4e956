-- For the two idioms in the look-ups by key see attempts.sql.

-- name: take_back
-- Take back attempts, in ascending order of signals, that made no request: they are due again, and their messages are given up
-- for lost after :rescue_after seconds. What was overtaken, or has been ended, is left alone.
UPDATE deliveries d
SET attempts = t.number - 1, begun_at = NULL, begun_by = NULL, due_at = now() + make_interval(secs => :rescue_after)
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[]) AS t (signal_id, subscription_id, number)
WHERE d.signal_id = t.signal_id AND d.subscription_id = t.subscription_id
  AND d.signal_id >= (:signal_ids::bigint[])[1] AND d.state IS NOT DISTINCT FROM 'pending'
  AND d.attempts = t.number AND d.begun_at IS NOT NULL;

-- name: under_way
-- Those of the attempts, in ascending order of signals, that are still under way, of signals that have not expired, and what
-- has been changed of their subscriptions meanwhile. As in `begin` (attempts.sql), `broker.admission` decides if it has anything to decide by,
-- unless they are :admitted already. An attempt under way has its concurrency slot and its reservation.
SELECT d.signal_id, d.subscription_id, a.number, statement_timestamp() AS now, s AS subscription,
       CASE WHEN s.previous_secret_until > now() THEN s.previous_secret END AS previous_secret,
       (SELECT array_agg(k.private_key ORDER BY k.id DESC) FROM webhook_keys k
        WHERE k.valid_until IS NULL OR k.valid_until > now()) AS signing_keys
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :numbers::int[]) AS a (signal_id, subscription_id, number)
JOIN deliveries d ON d.signal_id = a.signal_id AND d.subscription_id = a.subscription_id
JOIN signals g ON g.id = a.signal_id
JOIN subscriptions s ON s.id = a.subscription_id
WHERE d.signal_id >= (:signal_ids::bigint[])[1] AND d.state IS NOT DISTINCT FROM 'pending'
  AND d.attempts = a.number AND d.begun_at IS NOT NULL
  AND (g.expires_at IS NULL OR g.expires_at > now()) AND s.until IS NULL
  AND (:admitted::boolean OR s.paused_at IS NULL AND s.disabled_because IS NULL
       AND NOT EXISTS (SELECT FROM circuits k WHERE k.subscription_id = s.id));
