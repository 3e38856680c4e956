-- name: caller
-- Who a digest stands for: an API token, or the token of an endpoint.
SELECT * FROM (
    SELECT digest, id AS token_id, name, permissions, names, tenants, NULL::bigint AS endpoint_id
    FROM tokens WHERE revoked_at IS NULL
    UNION ALL
    SELECT digest, id, name, ARRAY[]::text[], NULL, NULL, endpoint_id FROM endpoint_tokens
) AS c WHERE digest = $1;

-- name: create_token
INSERT INTO tokens (name, digest, permissions, names, tenants, created_by)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING *;

-- name: list_tokens
SELECT * FROM tokens WHERE revoked_at IS NULL AND id > $1 ORDER BY id LIMIT $2;

-- name: get_token
SELECT * FROM tokens WHERE id = $1 AND revoked_at IS NULL;

-- name: revoke_token
UPDATE tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id;

-- name: has_token_named
SELECT EXISTS (SELECT FROM tokens WHERE name = $1 AND revoked_at IS NULL);

-- name: create_endpoint
INSERT INTO endpoints (name, enabled, description, created_by) VALUES ($1, $2, $3, $4) RETURNING *;

-- name: list_endpoints
SELECT * FROM endpoints ORDER BY id;

-- name: get_endpoint
SELECT * FROM endpoints WHERE id = $1;

-- name: find_endpoint
SELECT * FROM endpoints WHERE name = $1;

-- name: update_endpoint
UPDATE endpoints SET name = $2, enabled = $3, description = $4 WHERE id = $1 RETURNING *;

-- name: enable_endpoint
UPDATE endpoints SET enabled = $2 WHERE id = $1 RETURNING *;

-- name: delete_endpoint
DELETE FROM endpoints WHERE id = $1 RETURNING id;

-- name: create_endpoint_token
INSERT INTO endpoint_tokens (endpoint_id, name, digest, created_by) VALUES ($1, $2, $3, $4) RETURNING *;

-- name: list_endpoint_tokens
SELECT * FROM endpoint_tokens WHERE endpoint_id = ANY ($1::bigint[]) ORDER BY id;

-- name: rename_endpoint_token
UPDATE endpoint_tokens SET name = $3 WHERE endpoint_id = $1 AND id = $2 RETURNING *;

-- name: delete_endpoint_token
DELETE FROM endpoint_tokens WHERE endpoint_id = $1 AND id = $2 RETURNING id;
