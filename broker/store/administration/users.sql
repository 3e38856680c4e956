-- name: create
INSERT INTO users (name, password, permissions, names, tenants, groups, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *;

-- name: list
SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2;

-- name: get
SELECT * FROM users WHERE id = $1;

-- name: find
SELECT * FROM users WHERE name = $1;

-- name: update
-- The members of $2 replace the columns of their names; the other columns keep what they hold.
UPDATE users
SET (password, permissions, names, tenants, groups) = (
    SELECT changed.password, changed.permissions, changed.names, changed.tenants, changed.groups
    FROM jsonb_populate_record(users, $2::jsonb) AS changed
)
WHERE id = $1 RETURNING *;

-- name: delete
DELETE FROM users WHERE id = $1 RETURNING *;
