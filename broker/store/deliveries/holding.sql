-- For the order of locks see broker/store/postgres/locks.py.

-- name: find
-- The subscriptions that have deliveries of these signals that are held back, and why.
SELECT DISTINCT subscription_id, reason FROM deliveries
WHERE signal_id = ANY (:signal_ids::bigint[]) AND state IS NOT DISTINCT FROM 'parked' AND due_at IS NULL
  AND reason = ANY (:reasons::text[]);

-- name: note
-- Note what deliveries of subscriptions, whose admission is locked, may wait for.
UPDATE gates g
SET rate_waiting = g.rate_waiting OR n.rate, held = g.held OR n.in_flight, surplus = g.surplus OR n.share
FROM unnest(:subscription_ids::bigint[], :rate::boolean[], :in_flight::boolean[], :share::boolean[])
    AS n (subscription_id, rate, in_flight, share)
WHERE g.subscription_id = n.subscription_id;
