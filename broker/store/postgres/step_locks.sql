-- The tables that a step of the schema locks.

-- name: find_tables
-- Those named, or with an index named, in :named; mode is the lock that a step needs that names them in :changed, too.
SELECT t.oid::regclass::text AS name,
       CASE WHEN bool_or(n.name = ANY (:changed::text[])) THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE' END AS mode
FROM pg_class t,
     LATERAL (
         SELECT t.relname UNION ALL
         SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = t.oid
     ) AS n (name)
WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition AND t.relnamespace = current_schema()::regnamespace
  AND n.name = ANY (:named::text[])
GROUP BY t.oid ORDER BY t.oid;
