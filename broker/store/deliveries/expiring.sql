-- name: expire
-- Cancel at most :limit open deliveries, after the first :offset, whose signals have expired; any number of schedulers may do
-- this at once. An attempt that is under way ends normally; if :overdue_too, one that should have ended long ago is noted as interrupted. (An attempt
-- of the version before has no begun_at, and no row until it ends.) `once` subscriptions that such a signal consumed wait for
-- another one. Rows of older recorders get their moment here.
-- Returned are all deliveries that were looked at, and which of them are cancelled.
WITH due AS (
    SELECT d.signal_id, d.subscription_id, d.attempts, d.begun_at FROM deliveries d
    WHERE d.state IN ('pending', 'parked') AND d.expires_at <= now()
      AND (d.state = 'parked' OR d.attempts = 0 OR (:overdue_too::boolean AND d.due_at <= now()) OR (
          d.begun_at IS NULL AND EXISTS (
              SELECT FROM attempts t
              WHERE t.signal_id = d.signal_id AND t.subscription_id = d.subscription_id AND t.number = d.attempts OFFSET 0
          )
      ))
    ORDER BY d.expires_at LIMIT :limit OFFSET :offset FOR UPDATE OF d SKIP LOCKED
), known AS (
    SELECT due.*, g.expires_at, g.expires_at IS NOT NULL AND g.expires_at <= now() AS expired
    FROM due JOIN signals g ON g.id = due.signal_id
), interrupted AS (
    INSERT INTO attempts (signal_id, subscription_id, number, started_at, duration, outcome, interrupted)
    SELECT signal_id, subscription_id, attempts, begun_at, 0, 'failed', true FROM known
    WHERE expired AND begun_at IS NOT NULL
    ON CONFLICT DO NOTHING
), looked AS (
    UPDATE deliveries d
    SET expires_at = k.expires_at,
        state = CASE WHEN k.expired THEN 'cancelled' ELSE d.state END,
        reason = CASE WHEN k.expired THEN 'expired' ELSE d.reason END,
        due_at = CASE WHEN k.expired THEN NULL ELSE d.due_at END,
        begun_at = CASE WHEN k.expired THEN NULL ELSE d.begun_at END,
        finished_at = CASE WHEN k.expired THEN now() END
    FROM known k WHERE d.signal_id = k.signal_id AND d.subscription_id = k.subscription_id
    RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app, k.expired
), freed AS (
    UPDATE subscriptions s SET consumed_by = NULL
    FROM looked l WHERE l.expired AND s.id = l.subscription_id AND s.consumed_by = l.signal_id
)
SELECT * FROM looked;

-- name: free
-- Let at most :limit `once` subscriptions wait for another signal that were consumed by signals which have expired, and whose
-- deliveries are dead: they cannot be redriven. What is under way then is looked at again after a second, and what was
-- delivered has consumed its subscription for good. Recorders of earlier versions leave `consumed_until` as it was, so the
-- signal has the last word. Any number of schedulers may do this at once.
WITH due AS (
    SELECT id, consumed_by FROM subscriptions
    WHERE consumed_by IS NOT NULL AND consumed_until <= now()
    ORDER BY consumed_until LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE subscriptions s
SET consumed_by = CASE WHEN g.expires_at <= now() AND d.state IN ('dead', 'cancelled') THEN NULL ELSE s.consumed_by END,
    consumed_until = CASE WHEN g.expires_at > now() THEN g.expires_at
                          WHEN g.expires_at <= now() AND d.state IN ('pending', 'parked') THEN now() + interval '1 second' END
FROM due
LEFT JOIN signals g ON g.id = due.consumed_by
LEFT JOIN deliveries d ON d.signal_id = due.consumed_by AND d.subscription_id = due.id
WHERE s.id = due.id
RETURNING s.id;
