-- name: appear
-- Note a new deliverer, and forget those that have been gone for long.
WITH forgotten AS (
    DELETE FROM deliverers WHERE seen_at < now() - interval '1 hour'
)
INSERT INTO deliverers DEFAULT VALUES RETURNING id;

-- name: stay
-- Note that a deliverer is still there, unless it was forgotten.
UPDATE deliverers SET seen_at = now() WHERE id = :id RETURNING id;

-- name: leave
-- Forget a deliverer, so that others take its attempts over at once.
DELETE FROM deliverers WHERE id = :id;
