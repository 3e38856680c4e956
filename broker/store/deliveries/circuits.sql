-- For the order of locks see gates.sql.

-- name: lock
-- Lock the circuits of addresses $1, as far as they failed before.
SELECT * FROM circuits WHERE key IN (SELECT circuit_key(address) FROM unnest($1::text[]) AS a (address))
ORDER BY key FOR UPDATE;

-- name: make
-- Lock the circuits of addresses $1; those that did not fail before, begin to.
INSERT INTO circuits (key, address)
SELECT circuit_key(address), address FROM unnest($1::text[]) AS a (address) ORDER BY 1
ON CONFLICT (key) DO UPDATE SET changed_at = now()
RETURNING *;

-- name: save
-- Keep what became of locked circuits.
UPDATE circuits k
SET failures = c.failures, openings = c.openings, retry_at = c.retry_at, probing_until = c.probing_until, changed_at = now()
FROM unnest($1::text[], $2::int[], $3::int[], $4::timestamptz[], $5::timestamptz[])
    AS c (address, failures, openings, retry_at, probing_until)
WHERE k.key = circuit_key(c.address);

-- name: drop
-- Forget the circuits of addresses $1: they succeeded.
DELETE FROM circuits WHERE key IN (SELECT circuit_key(address) FROM unnest($1::text[]) AS a (address));
