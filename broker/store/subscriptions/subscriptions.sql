-- name: create
-- Create a subscription with the columns in $1 and the secret $2.
-- Its number is taken here: signals numbered later match, signals numbered before do not. For the lock see `next`.
WITH lock AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(7305002)
)
INSERT INTO subscriptions (name, is_pattern, tenant_id, execution_id, once, kind, address, method, headers, body_template,
                           signatures, steps, filter, ordered, head_of_line, schedule, timeout, max_in_flight, max_per_second,
                           description, secret, since)
SELECT name, is_pattern, tenant_id, execution_id, once, kind, address, method, headers, body_template,
       signatures, steps, filter, ordered, head_of_line, schedule, timeout, max_in_flight, max_per_second,
       description, $2, (SELECT nextval('signal_ids') FROM lock)
FROM json_populate_record(NULL::subscriptions, $1)
RETURNING *;

-- name: renew
-- Give the subscription of a handler, if it is there, the terms in $1. It keeps what it is owed, its pause and its number; one
-- that is `once` no longer waits for signals again.
UPDATE subscriptions s
SET name = n.name, is_pattern = n.is_pattern, tenant_id = n.tenant_id, execution_id = n.execution_id, once = n.once,
    filter = n.filter, ordered = n.ordered, head_of_line = n.head_of_line, schedule = n.schedule, timeout = n.timeout,
    max_in_flight = n.max_in_flight, max_per_second = n.max_per_second, description = n.description,
    consumed_by = CASE WHEN n.once THEN s.consumed_by END
FROM json_populate_record(NULL::subscriptions, $1) AS n
WHERE s.kind = 'handler' AND s.address = n.address AND s.until IS NULL
RETURNING s.*;

-- name: of_app
-- The subscriptions of the app $1's handlers.
SELECT * FROM subscriptions WHERE kind = 'handler' AND split_part(address, '/', 1) = $1 AND until IS NULL ORDER BY id;

-- name: apps
-- The apps that have handlers.
SELECT DISTINCT split_part(address, '/', 1) AS app FROM subscriptions WHERE kind = 'handler' AND until IS NULL ORDER BY app;

-- name: get
SELECT * FROM subscriptions WHERE id = $1 AND until IS NULL;

-- name: list
-- A page of subscriptions. Null filters are no filters; $5: the tenants the caller sees.
SELECT * FROM subscriptions
WHERE until IS NULL
  AND id > $1
  AND ($2::text IS NULL OR name = $2)
  AND ($3::text IS NULL OR tenant_id = $3)
  AND ($4::text IS NULL OR execution_id = $4)
  AND ($5::text[] IS NULL OR tenant_id IS NULL OR tenant_id = ANY ($5))
ORDER BY id
LIMIT $6;

-- name: waiting
-- A page of the subscriptions that signals still reach. Null filters are no filters; $4 of these tenants, $5: and
-- untenanted; $6: the tenants the caller sees; $7: the order, $8: turned round; from $9 at most $10 (null: all).
SELECT id, name, execution_id, tenant_id, created_at FROM subscriptions
WHERE until IS NULL AND consumed_by IS NULL
  AND ($1::bigint IS NULL OR id = $1)
  AND ($2::text IS NULL OR name = $2)
  AND ($3::text IS NULL OR execution_id = $3)
  AND ($4::text[] IS NULL OR tenant_id = ANY ($4) OR ($5::boolean AND tenant_id IS NULL))
  AND ($6::text[] IS NULL OR tenant_id IS NULL OR tenant_id = ANY ($6))
ORDER BY CASE WHEN $7::text = 'created' AND NOT $8::boolean THEN created_at END,
         CASE WHEN $7::text = 'created' AND $8::boolean THEN created_at END DESC,
         CASE WHEN $7::text = 'tenantId' AND NOT $8::boolean THEN tenant_id END,
         CASE WHEN $7::text = 'tenantId' AND $8::boolean THEN tenant_id END DESC,
         id
OFFSET $9 LIMIT $10;

-- name: count_waiting
-- How many `waiting` finds with the same filters.
SELECT count(*) FROM subscriptions
WHERE until IS NULL AND consumed_by IS NULL
  AND ($1::bigint IS NULL OR id = $1)
  AND ($2::text IS NULL OR name = $2)
  AND ($3::text IS NULL OR execution_id = $3)
  AND ($4::text[] IS NULL OR tenant_id = ANY ($4) OR ($5::boolean AND tenant_id IS NULL))
  AND ($6::text[] IS NULL OR tenant_id IS NULL OR tenant_id = ANY ($6));

-- name: lock
-- Lock subscription $1, so that nobody changes it meanwhile.
SELECT * FROM subscriptions WHERE id = $1 AND until IS NULL FOR UPDATE;

-- name: change
-- Give the locked subscription $1 the columns in $2 that may be changed, and the secret $3 if it has none.
UPDATE subscriptions s
SET (kind, address, method, headers, body_template, signatures, steps, filter, head_of_line, schedule, timeout,
     max_in_flight, max_per_second, description, secret)
  = (c.kind, c.address, c.method, c.headers, c.body_template, c.signatures, c.steps, c.filter, c.head_of_line, c.schedule,
     c.timeout, c.max_in_flight, c.max_per_second, c.description, coalesce(s.secret, $3))
FROM json_populate_record(NULL::subscriptions, $2) AS c
WHERE s.id = $1
RETURNING s.*;

-- name: rotate_secret
-- Make $2 the secret; the one before it stays beside it for $3 seconds.
UPDATE subscriptions
SET secret = $2, previous_secret = secret, previous_secret_until = now() + make_interval(secs => $3)
WHERE id = $1 AND until IS NULL
RETURNING *;

-- name: next
-- Take the number of a deletion. PostgreSQL logs a sequence 32 numbers ahead, with the transaction of whoever came to
-- need a log record: a signal numbered before that one is committed would be numbered twice after a crash. So every
-- number is taken under the lock of the signals' numbering, which is released once the transaction is on disk.
SELECT nextval('signal_ids') FROM pg_advisory_xact_lock(7305002);

-- name: delete
-- $2: the number of the deletion.
UPDATE subscriptions SET until = $2 WHERE id = $1 AND until IS NULL RETURNING id;

