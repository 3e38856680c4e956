-- name: count
SELECT count(*) FROM endpoints;

-- name: create
INSERT INTO endpoints (name, enabled, description, created_by, created_by_user_id)
VALUES ($1, $2, $3, $4, $5) RETURNING *;

-- name: list
SELECT * FROM endpoints ORDER BY id;

-- name: get
SELECT * FROM endpoints WHERE id = $1;

-- name: find
SELECT * FROM endpoints WHERE name = $1;

-- name: update
UPDATE endpoints SET name = $2, enabled = $3, description = $4 WHERE id = $1 RETURNING *;

-- name: delete
DELETE FROM endpoints WHERE id = $1;

-- name: count_tokens
SELECT count(*) FROM endpoint_tokens WHERE endpoint_id = $1;

-- name: create_token
INSERT INTO endpoint_tokens (endpoint_id, name, digest, created_by, created_by_user_id)
VALUES ($1, $2, $3, $4, $5) RETURNING *;

-- name: list_tokens
SELECT * FROM endpoint_tokens WHERE endpoint_id = ANY ($1::bigint[]) ORDER BY id;

-- name: get_token
SELECT * FROM endpoint_tokens WHERE endpoint_id = $1 AND id = $2;

-- name: rename_token
UPDATE endpoint_tokens SET name = $2 WHERE id = $1 RETURNING *;

-- name: delete_token
DELETE FROM endpoint_tokens WHERE id = $1;

-- name: total
-- How many signals came in by endpoints, and between which ids. $1 names, $2 first and $3 last day (UTC); null is no limit.
SELECT coalesce(sum(signals), 0)::bigint AS total, min(first_id) AS first_id, max(last_id) AS last_id
FROM endpoint_days
WHERE ($1::text[] IS NULL OR name = ANY ($1))
  AND ($2::date IS NULL OR day >= $2)
  AND ($3::date IS NULL OR day <= $3);

-- name: list_signals
-- What came in by endpoints with ids from $1 to $2, newest first; $3 names, $4 first and $5 last day (UTC) as above.
-- The days are looked at again because only the clock, and no promise, makes the order of ids that of times.
WITH page AS (
    SELECT id FROM signals
    WHERE source = 'signal-endpoint'
      AND id BETWEEN $1 AND $2
      AND ($3::text[] IS NULL OR name = ANY ($3))
      AND ($4::date IS NULL OR created_at >= $4::date)
      AND ($5::date IS NULL OR created_at < $5::date + 1)
    ORDER BY id DESC LIMIT $6 OFFSET $7
)
SELECT s.id, s.created_at, s.source_id, s.payload, t.name AS token_name, e.name AS endpoint_name,
       e.description AS endpoint_description
FROM page JOIN signals s USING (id)
LEFT JOIN endpoint_tokens t ON t.id = s.token_id
LEFT JOIN endpoints e ON e.id = s.source_id
ORDER BY s.id DESC;

-- name: list_signals_of
-- What came in by endpoint $1, newest first; $2 names, null is no limit.
WITH page AS (
    SELECT id FROM signals
    WHERE source = 'signal-endpoint' AND source_id = $1 AND ($2::text[] IS NULL OR name = ANY ($2))
    ORDER BY id DESC LIMIT $3 OFFSET $4
)
SELECT s.id, s.created_at, s.source_id, s.payload, t.name AS token_name, e.name AS endpoint_name,
       e.description AS endpoint_description
FROM page JOIN signals s USING (id)
LEFT JOIN endpoint_tokens t ON t.id = s.token_id
LEFT JOIN endpoints e ON e.id = s.source_id
ORDER BY s.id DESC;
