-- Which indexes a concurrent step has built so far.

-- name: is_partitioned
SELECT relkind = 'p' FROM pg_class WHERE oid = :table::text::regclass;

-- name: is_index_of_partitions
SELECT relkind = 'I' FROM pg_class WHERE oid = to_regclass(:name::text);

-- name: find_unfinished
-- Whether there is an index of that name whose build was interrupted.
SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name::text) AND NOT indisvalid);

-- name: find_partition_without
-- A partition that has no part of that index.
SELECT partition.inhrelid::regclass::text
FROM pg_inherits AS partition
WHERE partition.inhparent = :table::text::regclass AND NOT EXISTS (
    SELECT FROM pg_inherits AS part JOIN pg_index ON indexrelid = part.inhrelid
    WHERE part.inhparent = to_regclass(:name::text) AND indrelid = partition.inhrelid
)
ORDER BY 1 LIMIT 1;

-- name: is_partition
-- Whether it is one still: old ones are detached and dropped.
SELECT EXISTS (
    SELECT FROM pg_inherits WHERE inhparent = :table::text::regclass AND inhrelid = to_regclass(:partition::text)
);

-- name: is_to_be_built
-- Whether a table of over 1,000 pages lacks an index of that name, or the build of it was interrupted. (A smaller one has it
-- within milliseconds.)
SELECT coalesce((SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name::text)), true)
   AND coalesce(1000 < (
       SELECT sum(pg_relation_size(relid)) / current_setting('block_size')::int
       FROM pg_partition_tree(to_regclass(:table::text))
   ), false);
