-- For the order of locks see broker/store/postgres/locks.py.

-- name: terms
-- What decides how many deliveries of a subscription may be leased; `closed`: none, for the time being.
SELECT paused_at IS NOT NULL OR disabled_because IS NOT NULL OR until IS NOT NULL AS closed, max_in_flight, max_per_second
FROM subscriptions WHERE id = :subscription_id;

-- name: hold
-- Keep others from changing the limits of a subscription until the transaction ends.
SELECT FROM gates WHERE subscription_id = :subscription_id FOR SHARE;

-- name: count_leases
-- Give the leases of a subscription that last concurrency slots, if they have none. Those that end at this moment need none, and
-- are not waited for.
WITH lasting AS (
    SELECT digest, signal_id, until FROM leases
    WHERE subscription_id = :subscription_id AND ended IS NULL AND NOT slot FOR UPDATE SKIP LOCKED
), counted AS (
    UPDATE leases l SET slot = true FROM lasting WHERE l.digest = lasting.digest
)
INSERT INTO places (signal_id, subscription_id, until)
SELECT signal_id, :subscription_id, until + :grace::interval FROM lasting
ON CONFLICT (subscription_id, signal_id) DO UPDATE SET until = EXCLUDED.until;

-- name: find
-- Lock at most :limit deliveries of a subscription that can be leased, those of the oldest signals: their next attempts, and the
-- bytes of their payloads. Those that another session leases at this moment are left to it.
SELECT d.signal_id, d.attempts + 1 AS number, sized.size, clock_timestamp() AS now
FROM deliveries d
CROSS JOIN LATERAL (SELECT octet_length(g.payload) AS size FROM signals g WHERE g.id = d.signal_id OFFSET 0) AS sized
WHERE d.subscription_id = :subscription_id AND d.state = 'pending' AND d.app = '$pull' AND d.reason IS DISTINCT FROM 'leased'
  AND (d.expires_at IS NULL OR d.expires_at > now() OR d.expires_at = '-infinity')
ORDER BY d.signal_id LIMIT :limit FOR UPDATE OF d SKIP LOCKED;

-- name: lease
-- Note the leases of deliveries whose attempts were begun for as many :seconds; return until when they last.
INSERT INTO leases (digest, signal_id, subscription_id, number, worker, slot, until)
SELECT digest, signal_id, :subscription_id, number, :worker, :slot, now() + make_interval(secs => :seconds)
FROM unnest(:signal_ids::bigint[], :numbers::int[], :digests::bytea[]) AS b (signal_id, number, digest)
RETURNING until;

-- name: lock
-- Lock leases: how each stands, and all that its end depends on. `how` is how it ended. `under_way`: its delivery was neither cancelled nor dropped.
SELECT l.*, l.until <= statement_timestamp() AS is_over, statement_timestamp() AS now,
       d.state, d.reason, d.redriven, d.ordering_key IS NOT NULL AS in_group, g.created_at AS thrown_at, s AS subscription,
       coalesce(d.state = 'pending' AND d.attempts = l.number AND d.begun_at IS NOT NULL, false) AS under_way,
       CASE WHEN l.returned THEN 'returned' ELSE l.ended END AS how,
       CASE WHEN l.ended = 'failed' THEN (
           SELECT a.outcome FROM attempts a
           WHERE a.signal_id = l.signal_id AND a.subscription_id = l.subscription_id AND a.number = l.number
       ) END AS failed_as
FROM leases l
JOIN subscriptions s ON s.id = l.subscription_id
LEFT JOIN deliveries d ON d.signal_id = l.signal_id AND d.subscription_id = l.subscription_id
LEFT JOIN signals g ON g.id = l.signal_id
WHERE l.digest = ANY (:digests::bytea[])
ORDER BY l.digest FOR UPDATE OF l;

-- name: newest
-- The newest lease of a delivery.
SELECT digest, worker FROM leases WHERE signal_id = :signal_id AND subscription_id = :subscription_id
ORDER BY number DESC LIMIT 1;

-- name: any_lapsed
-- Whether there is a lease that is over and whose end was not noticed so far.
SELECT EXISTS (SELECT FROM (SELECT FROM leases WHERE ended IS NULL AND until <= now() ORDER BY until LIMIT 1) AS first);

-- name: lapsed
-- At most :limit leases, after the first :offset, that are over and whose ends were not noticed so far.
SELECT digest FROM leases WHERE ended IS NULL AND until <= now()
ORDER BY until LIMIT :limit OFFSET :offset FOR UPDATE SKIP LOCKED;

-- name: note_ends
-- Note how leases ended, and who made the attempts.
WITH named AS (
    UPDATE attempts a SET worker = l.worker FROM leases l
    WHERE l.digest = ANY (:digests::bytea[]) AND l.worker IS NOT NULL
      AND a.signal_id = l.signal_id AND a.subscription_id = l.subscription_id AND a.number = l.number
)
UPDATE leases SET ended = CASE :how WHEN 'returned' THEN 'failed' ELSE :how END, returned = CASE :how WHEN 'returned' THEN true END
WHERE digest = ANY (:digests::bytea[]);

-- name: extend
-- Let leases last for :seconds from now on; return until when.
WITH extended AS (
    UPDATE leases SET until = now() + make_interval(secs => :seconds) WHERE digest = ANY (:digests::bytea[])
    RETURNING signal_id, subscription_id, number, until
), later AS (
    UPDATE deliveries d SET due_at = e.until FROM extended e
    WHERE d.signal_id = e.signal_id AND d.subscription_id = e.subscription_id AND d.attempts = e.number
      AND d.state IS NOT DISTINCT FROM 'pending'
)
UPDATE places p SET until = e.until + :grace::interval FROM extended e
WHERE p.subscription_id = e.subscription_id AND p.signal_id = e.signal_id;

-- name: forget
-- Forget at most :limit leases that ended, and would have lasted until an hour ago.
DELETE FROM leases WHERE digest IN (
    SELECT digest FROM leases WHERE ended IS NOT NULL AND until < now() - interval '1 hour'
    ORDER BY until LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: tell
-- Tell the gateways that deliveries of subscriptions may be leased now.
SELECT pg_notify('leasable', id::text) FROM unnest(:subscription_ids::bigint[]) AS s (id);
