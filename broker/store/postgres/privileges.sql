-- What the role of the store's URL may do.

-- name: look
-- Whose session this is, whether it can write, and on which server it is.
SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database,
       current_setting('transaction_read_only')::boolean AS read_only, pg_is_in_recovery() AS standby;

-- name: find_missing
-- What the role lacks on the tables and sequences of :names, and on all of the other :schemas. A partition is reached by
-- way of its table.
SELECT CASE WHEN relkind = 'S' THEN 'SEQUENCE ' ELSE '' END
       || CASE WHEN nspname = current_schema() THEN '' ELSE quote_ident(nspname) || '.' END || quote_ident(relname) AS name,
       quote_ident(nspname) AS schema, array_agg(privilege ORDER BY number) AS privileges
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
CROSS JOIN LATERAL unnest(
    CASE WHEN relkind <> 'S' THEN ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']
         WHEN relname = 'signal_ids' THEN ARRAY['USAGE', 'SELECT', 'UPDATE'] ELSE ARRAY['USAGE'] END
) WITH ORDINALITY AS needed (privilege, number)
WHERE relkind IN ('r', 'p', 'S') AND NOT relispartition
AND (nspname = current_schema() AND relname = ANY (:names::text[]) OR nspname = ANY (:schemas::text[]))
AND NOT CASE WHEN relkind <> 'S' THEN has_table_privilege(pg_class.oid, privilege)
             WHEN privilege = 'USAGE' THEN has_sequence_privilege(pg_class.oid, 'USAGE, UPDATE')
             ELSE has_sequence_privilege(pg_class.oid, privilege) END
GROUP BY relkind, nspname, relname ORDER BY relkind = 'S', nspname, relname;

-- name: find_owned_by_others
-- The partitioned tables that the role does not own, so that it cannot add partitions to them.
SELECT quote_ident(relname) AS name FROM pg_class
WHERE relkind = 'p' AND relnamespace = to_regnamespace(quote_ident(current_schema())) AND relname = ANY (:names::text[])
AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname;
