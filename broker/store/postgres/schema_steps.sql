-- Which steps of the schema a database has.

-- name: create_books
CREATE TABLE IF NOT EXISTS schema_steps (
    step       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_steps IS 'The steps of the schema that this database has, by number.';
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);

-- name: has_books
SELECT to_regclass('schema_steps') IS NOT NULL;

-- name: list
SELECT step FROM schema_steps;

-- name: has_alembic_books
SELECT to_regclass('alembic_version') IS NOT NULL;

-- name: newest_of_alembic
-- Alembic recorded the newest step only.
SELECT coalesce(max(version_num), '0') FROM alembic_version;

-- name: record
INSERT INTO schema_steps (step) SELECT unnest(:steps::text[]) ON CONFLICT DO NOTHING;

-- name: record_for_alembic
-- Processes of version 0.1.0, which run side by side with newer ones during an upgrade, read the newest step here.
DELETE FROM alembic_version;
INSERT INTO alembic_version (version_num) SELECT max(step) FROM schema_steps;

-- name: lock
SELECT pg_advisory_lock({locks.MIGRATION});
