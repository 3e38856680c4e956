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
UPDATE tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING *;

-- name: has_token_named
SELECT EXISTS (SELECT FROM tokens WHERE name = $1 AND revoked_at IS NULL);
