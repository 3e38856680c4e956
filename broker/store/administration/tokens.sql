-- name: caller
-- The principal that a digest belongs to: an API token's, or that of a signal endpoint's token.
SELECT * FROM (
    SELECT digest, id AS token_id, name, permissions, names, tenants, queues, untenanted, NULL::bigint AS endpoint_id
    FROM tokens WHERE revoked_at IS NULL
    UNION ALL
    SELECT digest, id, name, ARRAY[]::text[], NULL, NULL, NULL, false, endpoint_id FROM endpoint_tokens
) AS c WHERE digest = :digest;

-- name: create_token
INSERT INTO tokens (name, digest, permissions, names, tenants, queues, untenanted, created_by)
VALUES (:name, :digest, :permissions, :names, :tenants, :queues, :untenanted, :created_by) RETURNING *;

-- name: list_tokens
SELECT * FROM tokens WHERE revoked_at IS NULL AND id > :after_id ORDER BY id LIMIT :limit;

-- name: get_token
SELECT * FROM tokens WHERE id = :token_id AND revoked_at IS NULL;

-- name: revoke_token
UPDATE tokens SET revoked_at = now() WHERE id = :token_id AND revoked_at IS NULL;

-- name: has_token_named
SELECT EXISTS (SELECT FROM tokens WHERE name = :name AND revoked_at IS NULL);
