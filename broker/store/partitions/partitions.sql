-- A block is a range of ids: signals, matches, deliveries and attempts have a partition each for it. What stands in braces
-- is filled in before; the names of tables cannot be parameters.

-- name: lock
-- One change of the blocks at a time.
SELECT pg_advisory_xact_lock(7305005);

-- name: list
SELECT * FROM blocks ORDER BY first_id;

-- name: last_number
-- The number that was given last, 0 before the first one.
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM signal_ids;

-- name: gap
-- The ids around $1 that no block has; without an end after the last block. No row, if a block has it.
SELECT coalesce((SELECT max(next_id) FROM blocks WHERE next_id <= $1), 1) AS first_id,
       (SELECT min(first_id) FROM blocks WHERE first_id > $1) AS next_id
WHERE NOT EXISTS (SELECT FROM blocks WHERE first_id <= $1 AND next_id > $1);

-- name: size
-- How many ids the next block has if $1 was given last: half as many again as the three before it used up together.
SELECT least(greatest(1.5 * coalesce(sum(used), 0), 100000), 50000000)::bigint
FROM (
    SELECT coalesce(last_id, least($1, next_id - 1)) - first_id + 1 AS used FROM blocks
    WHERE first_id <= $1 AND emptied_at IS NULL ORDER BY first_id DESC LIMIT 3
) AS recent;

-- name: make_tables
-- Make the tables of a block, which belong to nothing yet.
CREATE TABLE matches_{first_id} (LIKE matches INCLUDING ALL EXCLUDING INDEXES);
CREATE TABLE deliveries_{first_id} (LIKE deliveries INCLUDING ALL EXCLUDING INDEXES) WITH (fillfactor = 80);
CREATE TABLE signals_{first_id} (LIKE signals INCLUDING ALL EXCLUDING INDEXES);
CREATE TABLE attempts_{first_id} (LIKE attempts INCLUDING ALL EXCLUDING INDEXES);

-- name: attach_tables
-- Make them partitions, with indexes. Unlike CREATE TABLE ... PARTITION OF, this keeps out nobody but who attaches and
-- detaches.
ALTER TABLE matches ATTACH PARTITION matches_{first_id} FOR VALUES FROM ({first_id}) TO ({next_id});
ALTER TABLE deliveries ATTACH PARTITION deliveries_{first_id} FOR VALUES FROM ({first_id}) TO ({next_id});
ALTER TABLE signals ATTACH PARTITION signals_{first_id} FOR VALUES FROM ({first_id}) TO ({next_id});
ALTER TABLE attempts ATTACH PARTITION attempts_{first_id} FOR VALUES FROM ({first_id}) TO ({next_id});

-- name: insert
INSERT INTO blocks (first_id, next_id) VALUES ($1, $2);

-- name: insert_late
-- A block for signals that come later than what was dropped already: no more ids are given in it.
INSERT INTO blocks (first_id, next_id, last_id, opened_at, closed_at) VALUES ($1, $2, $2::bigint - 1, now(), now());

-- name: note_use
-- Note which blocks were opened, and which are used up, now that $1 was given last.
UPDATE blocks SET opened_at = coalesce(opened_at, clock_timestamp()),
    closed_at = CASE WHEN next_id <= $1 + 1 THEN clock_timestamp() END,
    last_id = CASE WHEN next_id <= $1 + 1 THEN next_id - 1 END
WHERE first_id <= $1 AND closed_at IS NULL AND (opened_at IS NULL OR next_id <= $1 + 1);

-- name: over
-- The block that has been open for $1 seconds, if it is: its period is over.
SELECT * FROM blocks WHERE closed_at IS NULL AND opened_at <= now() - make_interval(secs => $1);

-- name: lock_numbers
-- Nobody takes a number meanwhile. It is released once the transaction is on disk; see the statement `next` of subscriptions.
SELECT pg_advisory_xact_lock(7305002);

-- name: jump
-- Close the block from $1 to before $2, whose last number is $3: the next number is the first one of the next block.
WITH closed AS (
    UPDATE blocks SET closed_at = clock_timestamp(), last_id = $3 WHERE first_id = $1 RETURNING next_id
)
SELECT setval('signal_ids', next_id - 1) FROM closed WHERE next_id = $2;
