-- name: note_token_uses
-- Note when tokens were last used, each so many seconds ago. An earlier moment than the one that is known changes nothing.
INSERT INTO token_uses (token_id, used_at)
SELECT id, clock_timestamp() - make_interval(secs => ago)
FROM unnest(:ids::bigint[], :ago::float8[]) AS used (id, ago) JOIN tokens USING (id) ORDER BY id
ON CONFLICT (token_id) DO UPDATE SET used_at = greatest(token_uses.used_at, excluded.used_at);

-- name: note_endpoint_token_uses
-- The same for tokens of signal endpoints.
INSERT INTO endpoint_token_uses (token_id, used_at)
SELECT id, clock_timestamp() - make_interval(secs => ago)
FROM unnest(:ids::bigint[], :ago::float8[]) AS used (id, ago) JOIN endpoint_tokens USING (id) ORDER BY id
ON CONFLICT (token_id) DO UPDATE SET used_at = greatest(endpoint_token_uses.used_at, excluded.used_at);
