-- name: count_recent
-- How many sessions of a principal began in the last hour.
SELECT count(*) FROM sessions WHERE principal = :principal AND created_at > now() - interval '1 hour';

-- name: end_oldest
-- End the sessions of a principal but for the latest :kept.
UPDATE sessions SET ends_at = now() WHERE id IN (
    SELECT id FROM sessions WHERE principal = :principal AND ends_at > now() ORDER BY id DESC OFFSET :kept
);

-- name: start
-- A session ends after :seconds, or with its credential, if that ends earlier. None starts for a user that is gone.
INSERT INTO sessions (digest, principal, credential, user_id, claims, ends_at)
SELECT :digest, :principal, :credential, :user_id::bigint, :claims::json,
       least(now() + make_interval(secs => :seconds), :expires_at::timestamptz)
WHERE :user_id::bigint IS NULL OR EXISTS (SELECT FROM users WHERE id = :user_id)
RETURNING id, ends_at;

-- name: find
-- The session with that digest, unless it has ended or the password of its user has changed.
SELECT s.id, s.ends_at, s.credential, s.claims, u.name AS user_name
FROM sessions s LEFT JOIN users u ON u.id = s.user_id
WHERE s.digest = :digest AND s.ends_at > clock_timestamp()
  AND (s.user_id IS NULL OR sha256(convert_to(u.password, 'UTF8')) = s.credential);

-- name: end
UPDATE sessions SET ends_at = now() WHERE id = :session_id AND ends_at > now() RETURNING id;

-- name: forget
-- Delete up to :limit sessions that ended an hour ago.
DELETE FROM sessions WHERE id IN (
    SELECT id FROM sessions WHERE ends_at < now() - interval '1 hour' ORDER BY ends_at LIMIT :limit FOR UPDATE SKIP LOCKED
) RETURNING id;
