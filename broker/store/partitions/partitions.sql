-- A partition is a range of ids: signals, matches, deliveries and attempts have a table each for it. The table `blocks`
-- lists the partitions. Names of tables cannot be parameters, so what stands in braces is filled in beforehand.

-- name: limit_maintenance
-- Let statements take their time, and end a session whose process hangs, so that its lock becomes free.
SET statement_timeout = '11min';
SET idle_session_timeout = '1min';

-- name: try_maintenance
-- Whether this session maintains the partitions from now on; false if another one does.
SELECT pg_try_advisory_lock({locks.MAINTENANCE});

-- name: lock
SELECT pg_advisory_xact_lock({locks.PARTITIONS});

-- name: list
SELECT * FROM blocks ORDER BY first_id;

-- name: last_number
-- The id that was given last, 0 before the first one.
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM signal_ids;

-- name: gap
-- The ids around `signal_id` that no partition covers; after the last partition without an end. No row if it is covered.
SELECT coalesce((SELECT max(next_id) FROM blocks WHERE next_id <= :signal_id), 1) AS first_id,
       (SELECT min(first_id) FROM blocks WHERE first_id > :signal_id) AS next_id
WHERE NOT EXISTS (SELECT FROM blocks WHERE first_id <= :signal_id AND next_id > :signal_id);

-- name: size
-- How many ids the next partition has: half as many again as the last three used up together.
SELECT least(greatest(1.5 * coalesce(sum(used), 0), 100000), 50000000)::bigint
FROM (
    SELECT coalesce(last_id, least(:last_number, next_id - 1)) - first_id + 1 AS used FROM blocks
    WHERE first_id <= :last_number AND emptied_at IS NULL ORDER BY first_id DESC LIMIT 3
) AS recent;

-- name: make_tables
-- Create the tables of a partition, not yet attached. Deliveries are updated several times each, and those of a large partition
-- would leave much behind until a fifth of them are.
CREATE TABLE matches_{first_id} (LIKE matches INCLUDING ALL EXCLUDING INDEXES);
CREATE TABLE deliveries_{first_id} (LIKE deliveries INCLUDING ALL EXCLUDING INDEXES)
    WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE TABLE signals_{first_id} (LIKE signals INCLUDING ALL EXCLUDING INDEXES);
CREATE TABLE attempts_{first_id} (LIKE attempts INCLUDING ALL EXCLUDING INDEXES);

-- name: attach_tables
-- Attach the tables, which creates their indexes. Unlike CREATE TABLE ... PARTITION OF, this locks out only those who attach
-- and detach.
ALTER TABLE matches ATTACH PARTITION matches_{first_id} FOR VALUES FROM ({first_id}) TO ({next_id});
ALTER TABLE deliveries ATTACH PARTITION deliveries_{first_id} FOR VALUES FROM ({first_id}) TO ({next_id});
ALTER TABLE signals ATTACH PARTITION signals_{first_id} FOR VALUES FROM ({first_id}) TO ({next_id});
ALTER TABLE attempts ATTACH PARTITION attempts_{first_id} FOR VALUES FROM ({first_id}) TO ({next_id});

-- name: insert
INSERT INTO blocks (first_id, next_id) VALUES (:first_id, :next_id);

-- name: insert_late
-- A partition for signals that arrive after their partition was dropped: no more ids are given in it.
INSERT INTO blocks (first_id, next_id, last_id, opened_at, closed_at)
VALUES (:first_id, :next_id, :next_id::bigint - 1, now(), now());

-- name: note_use
-- Note which partitions were opened and which are used up, now that `last_number` was given.
UPDATE blocks SET opened_at = coalesce(opened_at, clock_timestamp()),
    closed_at = CASE WHEN next_id <= :last_number + 1 THEN clock_timestamp() END,
    last_id = CASE WHEN next_id <= :last_number + 1 THEN next_id - 1 END
WHERE first_id <= :last_number AND closed_at IS NULL AND (opened_at IS NULL OR next_id <= :last_number + 1);

-- name: over
-- The partition whose period is over, if there is one: it has been open for that many seconds.
SELECT * FROM blocks WHERE closed_at IS NULL AND opened_at <= now() - make_interval(secs => :period);

-- name: lock_numbering
-- No id is given until the transaction is on disk; see the statement `next` of subscriptions.
SELECT pg_advisory_xact_lock({locks.NUMBERING});

-- name: jump
-- Close the partition, whose last id is `last_number`: the next id is the first one of the next partition.
WITH closed AS (
    UPDATE blocks SET closed_at = clock_timestamp(), last_id = :last_number WHERE first_id = :first_id RETURNING next_id
)
SELECT setval('signal_ids', next_id - 1) FROM closed WHERE next_id = :next_id;
