-- name: lock
-- One change of the administration at a time: what it counts stays so, and ids ascend in the order of the commits.
SELECT pg_advisory_xact_lock(7305003);

-- name: note
INSERT INTO audit_events (type, subject_id, principal, user_id, token_id, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: list
SELECT * FROM audit_events WHERE id > $1 AND ($2::text IS NULL OR type = $2) ORDER BY id LIMIT $3;
