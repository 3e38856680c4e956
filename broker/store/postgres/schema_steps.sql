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
-- Another product may have a table of that name.
SELECT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = to_regclass('schema_steps') AND attname = 'step' AND NOT attisdropped
);

-- name: list
SELECT step FROM schema_steps;

-- name: has_alembic_books
-- Other products use alembic, too; the first step makes the sequence.
SELECT to_regclass('alembic_version') IS NOT NULL AND to_regclass('signal_ids') IS NOT NULL;

-- name: newest_of_alembic
-- Alembic recorded the newest step only.
SELECT coalesce(max(version_num) FILTER (WHERE version_num ~ '^[0-9]{4}$'), '0') FROM alembic_version;

-- name: lift_limits
-- Let statements of this session take as long as it wants, whatever was set for its role or the database.
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout');

-- name: encoding
SELECT current_setting('server_encoding');

-- name: look_up
-- Which schema unqualified names are made in, if there is one, and what it depends on: a schema that does not exist, or that the role
-- may not use, counts for nothing in the search path.
SELECT current_schema() AS schema, current_setting('search_path') AS search_path, quote_ident(current_user) AS role,
       quote_ident(current_database()) AS database;

-- name: find_stores
-- The schemas beside the search path in which there is a store of ours, and whether the role may use them. The catalog shows them to
-- everybody.
SELECT quote_ident(n.nspname) AS schema, has_schema_privilege(n.oid, 'USAGE') AS usable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class numbers ON numbers.relnamespace = n.oid AND numbers.relname = 'signal_ids' AND numbers.relkind = 'S'
WHERE c.relname = 'schema_steps' AND c.oid IS DISTINCT FROM to_regclass('schema_steps')
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'step' AND NOT a.attisdropped)
ORDER BY usable, schema;

-- name: find_foreign
-- What there is of :names, besides a table of steps and a schema that are not ours.
SELECT relname AS name FROM pg_class
WHERE relnamespace = to_regnamespace(current_schema()) AND relname = ANY (:names::text[])
UNION ALL SELECT 'schema_steps' WHERE to_regclass('schema_steps') IS NOT NULL AND NOT :has_books
UNION ALL SELECT 'transport' WHERE to_regnamespace('transport') IS NOT NULL
ORDER BY name;

-- name: has_alembic_version
SELECT to_regclass('alembic_version') IS NOT NULL;

-- name: alembic_is_used
SELECT EXISTS (SELECT FROM alembic_version);

-- name: record
INSERT INTO schema_steps (step) SELECT unnest(:steps::text[]) ON CONFLICT DO NOTHING;

-- name: record_for_alembic
-- Processes of version 0.1.0, which run side by side with newer ones during an upgrade, read the newest step here.
DELETE FROM alembic_version;
INSERT INTO alembic_version (version_num) SELECT max(step) FROM schema_steps;

-- name: lock
SELECT pg_try_advisory_lock({locks.MIGRATION});

-- name: find_migrator
-- The session that has the lock.
SELECT concat_ws(' ', 'pid', pid, nullif(application_name, ''), client_addr)
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (classid, objid, objsubid) = (0, {locks.MIGRATION}, 1);

-- name: find_holders
-- The oldest transactions that hold locks on tables.
SELECT concat_ws(' ', 'pid', pid, nullif(application_name, ''), nullif(backend_type, 'client backend'),
       'for', round(extract(epoch FROM clock_timestamp() - xact_start)), 's') AS holder
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND datname = current_database() AND xact_start IS NOT NULL
AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'relation' AND granted AND relation >= 16384)
ORDER BY xact_start LIMIT 3;

-- name: find_tables
-- All tables, as LOCK TABLE takes them.
SELECT string_agg(format('ONLY %s', oid::regclass), ', ' ORDER BY oid) FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace;
