-- name: find
-- The subscriptions that may match signals with ids from `first_id` to `last_id`, each with what it was found by: a
-- superset, of which the matcher chooses. `version` changes with every change of the row. Those that were deleted since
-- `first_id` are among them. There are up to `most` of a kind (null: all) for each name, tenant and execution, and only
-- those that wait in an execution if that is wanted. The keys of a tenant's patterns are in one text, separated by
-- U+001E. (BETWEEN, LIMIT and the cost of `pattern_key` make all of these look-ups by key, whatever the statistics say:
-- how many subscriptions one name has says nothing of the next one.)
SELECT 'name' AS by, wanted.name AS value, '' AS of_tenant, s.* FROM unnest(:names::text[]) AS wanted (name), LATERAL (
    SELECT *, xmin AS version FROM subscriptions
    WHERE name BETWEEN wanted.name AND wanted.name AND NOT is_pattern
      AND coalesce(until, 9223372036854775807) >= :first_id::bigint
      AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
      AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
    LIMIT :most::bigint
) AS s
UNION ALL
SELECT 'pattern', '', '', s.* FROM (
    SELECT *, xmin AS version FROM subscriptions
    WHERE pattern_key(name) = ANY (:pattern_keys::text[])
      AND coalesce(until, 9223372036854775807) >= :first_id::bigint
      AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
      AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
    LIMIT :most::bigint
) AS s
UNION ALL
SELECT 'tenant', wanted.name, wanted.tenant, s.* FROM unnest(:tenants::text[], :tenants_names::text[]) AS wanted (tenant, name), LATERAL (
    SELECT *, xmin AS version FROM subscriptions
    WHERE coalesce(tenant_id, '') = wanted.tenant AND name BETWEEN wanted.name AND wanted.name AND NOT is_pattern
      AND coalesce(until, 9223372036854775807) >= :first_id::bigint
      AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
      AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
    LIMIT :most::bigint
) AS s
UNION ALL
SELECT 'tenant', wanted.name, wanted.tenant, s.* FROM unnest(:tenants, :tenants_names, :tenants_pattern_keys::text[]) AS wanted (tenant, name, keys), LATERAL (
    SELECT *, xmin AS version FROM subscriptions
    WHERE coalesce(tenant_id, '') = wanted.tenant AND pattern_key(name) = ANY (string_to_array(wanted.keys, E'\x1e'))
      AND coalesce(until, 9223372036854775807) >= :first_id::bigint
      AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
      AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
    LIMIT :most::bigint
) AS s
UNION ALL
SELECT 'execution', wanted.id, '', s.* FROM unnest(:executions::text[]) AS wanted (id), LATERAL (
    SELECT *, xmin AS version FROM subscriptions
    WHERE execution_id BETWEEN wanted.id AND wanted.id
      AND coalesce(until, 9223372036854775807) >= :first_id::bigint
      AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
      AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
    LIMIT :most::bigint
) AS s;

-- name: changed
-- Those of the subscriptions whose rows have been changed since they had `versions`.
SELECT s.* FROM unnest(:subscription_ids::bigint[], :versions::xid[]) AS c (id, version)
JOIN subscriptions s ON s.id = c.id AND s.xmin <> c.version;
