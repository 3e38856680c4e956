-- name: lock
-- One change of the administration at a time: counts stay true, and ids ascend in the order of the commits.
SELECT pg_advisory_xact_lock({locks.ADMINISTRATION});

-- name: insert
INSERT INTO audit_events (type, subject_id, principal, user_id, token_id, names, tenants, before, after)
VALUES (:type, :subject_id, :principal, :user_id, :token_id, :names, :tenants, :before, :after);

-- name: list
SELECT * FROM audit_events WHERE id > :after_id AND (:type::text IS NULL OR type = :type) ORDER BY id LIMIT :limit;
