-- For the order of locks see broker/store/postgres/locks.py.

-- name: lock
-- Lock the circuits of those webhooks that failed before.
SELECT * FROM circuits WHERE key IN (SELECT circuit_key(address) FROM unnest(:addresses::text[]) AS a (address))
ORDER BY key FOR UPDATE;

-- name: create
-- Lock the circuits of webhooks, and create those that are missing.
INSERT INTO circuits (key, address)
SELECT circuit_key(address), address FROM unnest(:addresses::text[]) AS a (address) ORDER BY 1
ON CONFLICT (key) DO UPDATE SET changed_at = now()
RETURNING *;

-- name: save
-- Store locked circuits.
UPDATE circuits k
SET failures = c.failures, openings = c.openings, retry_at = c.retry_at, probing_until = c.probing_until,
    spared_until = c.spared_until, changed_at = now()
FROM unnest(:addresses::text[], :failures::int[], :openings::int[], :retry_at::timestamptz[], :probing_until::timestamptz[],
            :spared_until::timestamptz[])
    AS c (address, failures, openings, retry_at, probing_until, spared_until)
WHERE k.key = circuit_key(c.address);

-- name: drop
-- Drop the circuits of webhooks that succeeded, or are to be tried again at once.
DELETE FROM circuits WHERE key IN (SELECT circuit_key(address) FROM unnest(:addresses::text[]) AS a (address));
