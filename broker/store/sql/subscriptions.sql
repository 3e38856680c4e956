-- name: create
-- Its number is taken here: signals numbered later match, signals numbered before do not.
INSERT INTO subscriptions (name, is_pattern, tenant_id, execution_id, once, kind, address, headers, secret,
                           schedule, timeout, description, since)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, nextval('signal_ids'))
RETURNING *;

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

-- name: delete
UPDATE subscriptions SET until = nextval('signal_ids') WHERE id = $1 AND until IS NULL RETURNING id;

-- name: cancel_deliveries
UPDATE deliveries SET state = 'cancelled', due_at = NULL, finished_at = now()
WHERE subscription_id = $1 AND state IN ('pending', 'parked');
