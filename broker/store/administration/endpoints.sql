-- name: count
-- How many endpoints have been created by principals that are limited to :tenants (null: to none).
SELECT count(*) FROM endpoints WHERE tenants IS NOT DISTINCT FROM :tenants::text[];

-- name: create
INSERT INTO endpoints (name, enabled, description, created_by, created_by_user_id, tenants)
VALUES (:name, :enabled, :description, :created_by, :created_by_user_id, :tenants) RETURNING *;

-- name: list
SELECT * FROM endpoints ORDER BY id;

-- name: get
SELECT * FROM endpoints WHERE id = :endpoint_id;

-- name: find
SELECT * FROM endpoints WHERE name = :name;

-- name: update
UPDATE endpoints SET name = :name, enabled = :enabled, description = :description WHERE id = :endpoint_id RETURNING *;

-- name: delete
DELETE FROM endpoints WHERE id = :endpoint_id;

-- name: count_tokens
SELECT count(*) FROM endpoint_tokens WHERE endpoint_id = :endpoint_id;

-- name: create_token
INSERT INTO endpoint_tokens (endpoint_id, name, digest, expires_at, created_by, created_by_user_id)
VALUES (:endpoint_id, :name, :digest, :expires_at, :created_by, :created_by_user_id)
RETURNING *, NULL::timestamptz AS used_at;

-- name: list_tokens
SELECT t.*, u.used_at FROM endpoint_tokens t LEFT JOIN endpoint_token_uses u ON u.token_id = t.id
WHERE t.endpoint_id = ANY (:endpoint_ids::bigint[]) ORDER BY t.id;

-- name: get_token
SELECT t.*, coalesce(t.expires_at <= now(), false) AS is_expired, u.used_at
FROM endpoint_tokens t LEFT JOIN endpoint_token_uses u ON u.token_id = t.id
WHERE t.endpoint_id = :endpoint_id AND t.id = :token_id;

-- name: rename_token
UPDATE endpoint_tokens SET name = :name WHERE id = :token_id;

-- name: delete_token
DELETE FROM endpoint_tokens WHERE id = :token_id;

-- name: total
-- How many signals came in through endpoints, and between which ids. Days are those of UTC; a null filter does not filter.
SELECT coalesce(sum(signals), 0)::bigint AS total, min(first_id) AS first_id, max(last_id) AS last_id
FROM endpoint_days
WHERE (:names::text[] IS NULL OR name = ANY (:names))
  AND (:first_day::date IS NULL OR day >= :first_day)
  AND (:last_day::date IS NULL OR day <= :last_day);

-- name: total_readable
-- As `total`, for a caller that is limited to tenants.
SELECT count(*) AS total, min(id) AS first_id, max(id) AS last_id FROM signals
WHERE source = 'signal-endpoint'
  AND (:names::text[] IS NULL OR name = ANY (:names))
  AND is_readable(scope, tenant_id, reach, :tenants::text[], :untenanted::boolean)
  AND (:first_day::date IS NULL OR created_at >= :first_day::date)
  AND (:last_day::date IS NULL OR created_at < :last_day::date + 1);

-- name: list_signals
-- The signals with these ids that came in through endpoints, newest first, and the sizes of their payloads; the filters are
-- those of `total`. The days are checked again, because the order of ids is that of times only as far as the clock does not
-- jump. `tenants` (null: all) and `untenanted` say what the caller may read.
SELECT id, octet_length(payload) AS size FROM signals
WHERE source = 'signal-endpoint'
  AND id BETWEEN :first_id AND :last_id
  AND is_readable(scope, tenant_id, reach, :tenants::text[], :untenanted::boolean)
  AND (:names::text[] IS NULL OR name = ANY (:names))
  AND (:first_day::date IS NULL OR created_at >= :first_day::date)
  AND (:last_day::date IS NULL OR created_at < :last_day::date + 1)
ORDER BY id DESC LIMIT :limit OFFSET :offset;

-- name: list_signals_of
-- The signals that came in through one endpoint, newest first, and the sizes of their payloads; the filters are as above.
SELECT id, octet_length(payload) AS size FROM signals
WHERE source = 'signal-endpoint' AND source_id = :endpoint_id AND (:names::text[] IS NULL OR name = ANY (:names))
  AND is_readable(scope, tenant_id, reach, :tenants::text[], :untenanted::boolean)
ORDER BY id DESC LIMIT :limit OFFSET :offset;

-- name: read_signals
-- These signals, newest first.
SELECT s.id, s.created_at, s.source_id, s.payload, t.name AS token_name, e.name AS endpoint_name,
       e.description AS endpoint_description
FROM unnest(:signal_ids::bigint[]) AS page (id) JOIN signals s USING (id)
LEFT JOIN endpoint_tokens t ON t.id = s.token_id
LEFT JOIN endpoints e ON e.id = s.source_id
ORDER BY s.id DESC;
