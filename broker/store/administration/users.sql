-- name: create
INSERT INTO users (name, password, permissions, names, tenants, queues, untenanted, groups, created_by)
VALUES (:name, :password, :permissions, :names, :tenants, :queues, :untenanted, :groups, :created_by) RETURNING *;

-- name: list
SELECT * FROM users WHERE id > :after_id ORDER BY id LIMIT :limit;

-- name: get
SELECT * FROM users WHERE id = :user_id;

-- name: find
SELECT * FROM users WHERE name = :name;

-- name: update
-- The members of `changes` replace the columns of the same name; the other columns stay as they are.
UPDATE users
SET (password, permissions, names, tenants, queues, untenanted, groups) = (
    SELECT changed.password, changed.permissions, changed.names, changed.tenants, changed.queues, changed.untenanted,
           changed.groups
    FROM jsonb_populate_record(users, :changes::jsonb) AS changed
)
WHERE id = :user_id RETURNING *;

-- name: delete
DELETE FROM users WHERE id = :user_id;
