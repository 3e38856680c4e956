-- name: caller
-- The principal that a digest belongs to: an API token's, or that of a signal endpoint's token. The digest may be one that a
-- rotation has replaced, as long as it is good. `seconds`: for how much longer it is; null: without end.
WITH found AS (
    SELECT id AS token_id, NULL::bigint AS endpoint_token_id, NULL::timestamptz AS valid_until FROM tokens WHERE digest = :digest
    UNION ALL
    SELECT NULL, id, NULL FROM endpoint_tokens WHERE digest = :digest
    UNION ALL
    SELECT token_id, endpoint_token_id, valid_until FROM former_digests WHERE digest = :digest
)
SELECT *, extract(epoch FROM valid_until - clock_timestamp())::float8 AS seconds FROM (
    SELECT t.id AS token_id, t.name, t.permissions, t.names, t.tenants, t.queues, t.untenanted,
           NULL::bigint AS endpoint_id, t.expires_at, least(t.expires_at, found.valid_until) AS valid_until
    FROM found JOIN tokens t ON t.id = found.token_id WHERE t.revoked_at IS NULL
    UNION ALL
    SELECT t.id, t.name, ARRAY[]::text[], NULL, NULL, NULL, false,
           t.endpoint_id, t.expires_at, least(t.expires_at, found.valid_until)
    FROM found JOIN endpoint_tokens t ON t.id = found.endpoint_token_id
) AS c WHERE valid_until IS NULL OR valid_until > clock_timestamp();

-- name: count_changes
-- How often access was changed so far.
SELECT number FROM access_changes;

-- name: create_token
INSERT INTO tokens (name, digest, permissions, names, tenants, queues, untenanted, expires_at, created_by)
VALUES (:name, :digest, :permissions, :names, :tenants, :queues, :untenanted, :expires_at, :created_by)
RETURNING *, false AS is_expired, NULL::timestamptz AS used_at;

-- name: list_tokens
SELECT t.*, coalesce(t.expires_at <= now(), false) AS is_expired, u.used_at
FROM tokens t LEFT JOIN token_uses u ON u.token_id = t.id
WHERE t.revoked_at IS NULL AND t.id > :after_id ORDER BY t.id LIMIT :limit;

-- name: get_token
SELECT t.*, coalesce(t.expires_at <= now(), false) AS is_expired, u.used_at
FROM tokens t LEFT JOIN token_uses u ON u.token_id = t.id
WHERE t.id = :token_id AND t.revoked_at IS NULL;

-- name: revoke_token
UPDATE tokens SET revoked_at = now() WHERE id = :token_id AND revoked_at IS NULL;

-- name: has_token_named
SELECT EXISTS (
    SELECT FROM tokens WHERE name = :name AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
);
