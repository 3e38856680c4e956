-- name: redrive
-- Put deliveries in one of :states back to parked, until :due_at (null: due now), or back into their ordering groups; those
-- of signals for later, until their moment. Attempts go on counting; the schedule starts over, but for what was parked anyway.
-- One that is due is left alone. One that waits for its turn in its ordering group, or for its signal's moment, goes on waiting, and one that was cancelled is left alone if its signal was,
-- or if another signal has consumed its `once` subscription.
-- Locked in the order of their keys, to avoid deadlocks. A delivery that another session redrives is left to it.
WITH found AS (
    SELECT d.signal_id, d.subscription_id, d.state AS was, c.due_at
    FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[], :due_at::timestamptz[])
        AS c (signal_id, subscription_id, due_at)
    JOIN deliveries d ON d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id
    WHERE d.state = ANY (:states::text[])
      AND (d.state <> 'parked' OR (d.due_at > now()) IS NOT FALSE
           AND d.reason <> 'scheduled' AND (d.ordering_key IS NULL OR d.reason <> 'ordered'))
    ORDER BY d.signal_id, d.subscription_id FOR UPDATE OF d
), chosen AS (
    SELECT f.*, g.deliver_at, g.expires_at,
           s.once AND f.was = 'cancelled' AS consumes,
           row_number() OVER (PARTITION BY f.subscription_id, f.was ORDER BY f.signal_id) AS position
    FROM found f JOIN subscriptions s ON s.id = f.subscription_id JOIN signals g ON g.id = f.signal_id
    WHERE g.state <> 'cancelled' AND NOT (s.once AND f.was = 'cancelled' AND coalesce(s.consumed_by, f.signal_id) <> f.signal_id)
), consumed AS (
    UPDATE subscriptions s SET consumed_by = c.signal_id, consumed_until = c.expires_at
    FROM chosen c WHERE s.id = c.subscription_id AND c.consumes AND c.position = 1 AND s.consumed_by IS NULL
)
UPDATE deliveries d
SET state = 'parked', finished_at = NULL, redriven = CASE WHEN c.was = 'parked' THEN d.redriven ELSE attempts END, begun_at = NULL,
    (reason, due_at) = (
        SELECT CASE WHEN c.deliver_at > coalesce(c.due_at, now()) THEN 'scheduled' ELSE 'retry' END,
               greatest(coalesce(c.due_at, now()), c.deliver_at)
        WHERE d.ordering_key IS NULL OR c.was = 'parked'
        UNION ALL
        SELECT 'scheduled', c.deliver_at WHERE d.ordering_key IS NOT NULL AND c.was <> 'parked' AND c.deliver_at > now()
        UNION ALL
        SELECT 'ordered', NULL
        WHERE d.ordering_key IS NOT NULL AND c.was <> 'parked' AND (c.deliver_at > now()) IS NOT TRUE
    )
FROM chosen c
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND (NOT c.consumes OR c.position = 1)
RETURNING d.signal_id;
