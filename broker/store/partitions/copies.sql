-- Copies of what stays of a partition. What stands in braces is filled in beforehand; see partitions.sql.

-- name: drop
DROP TABLE IF EXISTS kept_signals_{first_id}, kept_matches_{first_id}, kept_deliveries_{first_id}, kept_attempts_{first_id},
    kept_versions_{first_id};

-- name: left_over
-- The first ids of the partitions of which there are copies.
SELECT DISTINCT substring(relname FROM '^kept_[a-z]+_(\d+)$')::bigint AS first_id FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
  AND relname ~ '^kept_(signals|matches|deliveries|attempts|versions)_\d+$';

-- name: make
-- Create the tables of the copies, with indexes, and one for the versions of the rows that were copied.
CREATE TABLE kept_matches_{first_id} (LIKE matches INCLUDING ALL);
CREATE TABLE kept_deliveries_{first_id} (LIKE deliveries INCLUDING ALL)
    WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE TABLE kept_signals_{first_id} (LIKE signals INCLUDING ALL);
CREATE TABLE kept_attempts_{first_id} (LIKE attempts INCLUDING ALL);
CREATE UNLOGGED TABLE kept_versions_{first_id} (
    signal_id bigint NOT NULL, subscription_id bigint NOT NULL, number integer NOT NULL, version xid NOT NULL,
    PRIMARY KEY (signal_id, subscription_id, number)
);

-- name: copy
-- Copy these signals with everything that belongs to them, and note the versions of the rows that change: those of the
-- signals as of subscription 0, of their matches as of subscription -1, of deliveries as of their attempts 0.
WITH signals AS (
    INSERT INTO kept_signals_{first_id} SELECT * FROM signals_{first_id} WHERE id = ANY (:signal_ids::bigint[])
), matches AS (
    INSERT INTO kept_matches_{first_id} SELECT * FROM matches_{first_id} WHERE signal_id = ANY (:signal_ids)
), deliveries AS (
    INSERT INTO kept_deliveries_{first_id} SELECT * FROM deliveries_{first_id} WHERE signal_id = ANY (:signal_ids)
), attempts AS (
    INSERT INTO kept_attempts_{first_id} SELECT * FROM attempts_{first_id} WHERE signal_id = ANY (:signal_ids)
)
INSERT INTO kept_versions_{first_id}
SELECT id, 0, 0, xmin FROM signals_{first_id} WHERE id = ANY (:signal_ids)
UNION ALL
SELECT signal_id, -1, 0, xmin FROM matches_{first_id} WHERE signal_id = ANY (:signal_ids)
UNION ALL
SELECT signal_id, subscription_id, 0, xmin FROM deliveries_{first_id} WHERE signal_id = ANY (:signal_ids)
UNION ALL
SELECT signal_id, subscription_id, number, xmin FROM attempts_{first_id} WHERE signal_id = ANY (:signal_ids);

-- name: changed
-- Those of the copied signals of which something is not as it was. (OFFSET 0 makes these look-ups by key: the partition may
-- have many times as many signals.)
SELECT k.id AS signal_id FROM kept_signals_{first_id} k
WHERE (SELECT array_agg((0::bigint, v.xmin)) FROM (SELECT xmin FROM signals_{first_id} WHERE id = k.id OFFSET 0) AS v)
      IS DISTINCT FROM
      (SELECT array_agg((subscription_id, version)) FROM kept_versions_{first_id} WHERE signal_id = k.id AND subscription_id = 0)
   OR (SELECT array_agg((-1::bigint, v.xmin)) FROM (SELECT xmin FROM matches_{first_id} WHERE signal_id = k.id OFFSET 0) AS v)
      IS DISTINCT FROM
      (SELECT array_agg((subscription_id, version)) FROM kept_versions_{first_id} WHERE signal_id = k.id AND subscription_id = -1)
   OR (SELECT array_agg((v.subscription_id, v.xmin) ORDER BY v.subscription_id)
       FROM (SELECT subscription_id, xmin FROM deliveries_{first_id} WHERE signal_id = k.id OFFSET 0) AS v)
      IS DISTINCT FROM
      (SELECT array_agg((subscription_id, version) ORDER BY subscription_id)
       FROM kept_versions_{first_id} WHERE signal_id = k.id AND subscription_id > 0 AND number = 0)
   OR (SELECT array_agg((v.subscription_id, v.number, v.xmin) ORDER BY v.subscription_id, v.number)
       FROM (SELECT subscription_id, number, xmin FROM attempts_{first_id} WHERE signal_id = k.id OFFSET 0) AS v)
      IS DISTINCT FROM
      (SELECT array_agg((subscription_id, number, version) ORDER BY subscription_id, number)
       FROM kept_versions_{first_id} WHERE signal_id = k.id AND number > 0)
ORDER BY k.id;

-- name: copied
SELECT id FROM kept_signals_{first_id} ORDER BY id;

-- name: forget
-- Delete the copies of these signals.
WITH signals AS (
    DELETE FROM kept_signals_{first_id} WHERE id = ANY (:signal_ids::bigint[])
), matches AS (
    DELETE FROM kept_matches_{first_id} WHERE signal_id = ANY (:signal_ids)
), deliveries AS (
    DELETE FROM kept_deliveries_{first_id} WHERE signal_id = ANY (:signal_ids)
), attempts AS (
    DELETE FROM kept_attempts_{first_id} WHERE signal_id = ANY (:signal_ids)
)
DELETE FROM kept_versions_{first_id} WHERE signal_id = ANY (:signal_ids);

-- name: rename
-- Let the copies take the place of the tables that were detached.
ALTER TABLE kept_matches_{first_id} RENAME TO matches_{first_id};
ALTER TABLE kept_deliveries_{first_id} RENAME TO deliveries_{first_id};
ALTER TABLE kept_signals_{first_id} RENAME TO signals_{first_id};
ALTER TABLE kept_attempts_{first_id} RENAME TO attempts_{first_id};
DROP TABLE kept_versions_{first_id};
