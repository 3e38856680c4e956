-- name: paths
-- The paths by which subscriptions are found (see `found_by` in schema.sql), in their order and up to `most` of them: for each name,
-- each key of patterns, each tenant's name, and each key of a tenant's patterns. Most patterns are found by no path, which
-- is looked up first.
WITH RECURSIVE known (by, value, of_tenant, path, number) AS (
    SELECT by, value, coalesce(tenant, ''), '' COLLATE "C", 0
    FROM (
        SELECT * FROM json_to_recordset(:places::json) AS w (by text, tenant text, "values" text)
        WHERE CASE by
            WHEN 'pattern' THEN EXISTS (
                SELECT FROM subscriptions
                WHERE pattern_key(name) = ANY (string_to_array(w."values", E'\x1e')) AND found_by <> '' AND consumed_by IS NULL
            )
            WHEN 'tenants_pattern' THEN EXISTS (
                SELECT FROM subscriptions
                WHERE coalesce(tenant_id, '') = w.tenant AND pattern_key(name) = ANY (string_to_array(w."values", E'\x1e'))
                  AND found_by <> '' AND consumed_by IS NULL
            )
            ELSE true
        END OFFSET 0
    ) AS w, string_to_table("values", E'\x1e') AS value
    UNION ALL
    SELECT k.by, k.value, k.of_tenant, next.path, k.number + 1
    FROM known k, LATERAL (
        SELECT CASE k.by
            WHEN 'name' THEN (
                SELECT found_by FROM subscriptions
                WHERE name BETWEEN k.value AND k.value AND name = k.value AND found_by > k.path AND consumed_by IS NULL
                ORDER BY found_by LIMIT 1
            )
            WHEN 'pattern' THEN (
                SELECT found_by FROM subscriptions
                WHERE pattern_key(name) = k.value AND found_by > k.path AND found_by <> ''
                  AND consumed_by IS NULL
                ORDER BY found_by LIMIT 1
            )
            WHEN 'tenant' THEN (
                SELECT found_by FROM subscriptions
                WHERE coalesce(tenant_id, '') = k.of_tenant AND name BETWEEN k.value AND k.value AND name = k.value
                  AND found_by > k.path AND consumed_by IS NULL
                ORDER BY found_by LIMIT 1
            )
            ELSE (
                SELECT found_by FROM subscriptions
                WHERE coalesce(tenant_id, '') = k.of_tenant AND pattern_key(name) = k.value
                  AND found_by > k.path AND found_by <> '' AND consumed_by IS NULL
                ORDER BY found_by LIMIT 1
            )
        END AS path
        OFFSET 0
    ) AS next
    WHERE next.path IS NOT NULL AND k.number < :most::bigint
)
SELECT by, value, of_tenant, path FROM known WHERE number > 0;

-- name: find
-- The subscriptions that may match signals with ids from `first_id` to `last_id`, each with what it was found by: a
-- superset, of which the matcher chooses. `version` changes with every change of the row. Those that were deleted since
-- `first_id` are among them. There are up to `most` of a kind (null: all) for each name, tenant and execution, but
-- up to `total` with patterns and by filters, if that is given, and together; and only those that wait in an execution if that
-- is wanted. The keys of patterns are in one text, separated by U+001E.
--
-- A name, or keys of patterns, have a row for the empty path, and one for each path that is known: `top` is the last
-- number of a deletion of those of this path that are wanted, as those that are still there are found by their values or spans; and
-- all those are wanted whose paths are between this one and the `next`. So none is missed, whatever has changed since the
-- paths were looked up.
--
-- (BETWEEN beside an equality, LIMIT and the cost of the functions make all of these look-ups by key, whatever the
-- statistics say: how many subscriptions one name has says nothing of the next one. What is wanted comes as JSON, as the
-- lengths of arrays would make PostgreSQL plan the statement anew each time, which takes longer than to carry it out.)
WITH wanted AS MATERIALIZED (
    SELECT * FROM json_to_recordset(:places::json) AS w (by text, tenant text, value text, path text, top bigint, next text)
), points AS MATERIALIZED (
    SELECT * FROM json_to_recordset(:points::json) AS p (number integer, tenant text, place text, path text, points numeric[])
)
SELECT by, value, of_tenant, version, id, name, tenant_id, execution_id, once, filter, ordered, app_of(kind, address) AS app,
       max_in_flight, max_per_second, owner_tenants, owner_untenanted, created_at, since, until, consumed_by, disabled_because
FROM (
    SELECT w.by, w.value, w.tenant AS of_tenant, s.* FROM wanted w, LATERAL (
        SELECT *, xmin AS version FROM subscriptions
        WHERE name BETWEEN w.value AND w.value AND name = w.value AND NOT is_pattern
          AND found_by = w.path AND coalesce(until, 9223372036854775807) BETWEEN :first_id::bigint AND w.top
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        UNION ALL
        SELECT *, xmin AS version FROM subscriptions
        WHERE name BETWEEN w.value AND w.value AND name = w.value AND NOT is_pattern
          AND found_by > w.path AND found_by < w.next AND found_by <> '' AND coalesce(until, 9223372036854775807) >= :first_id
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        LIMIT :most::bigint
    ) AS s
    WHERE w.by = 'name'
    UNION ALL
    SELECT w.by, '', w.tenant, s.* FROM wanted w, LATERAL (
        SELECT *, xmin AS version FROM subscriptions
        WHERE pattern_key(name) = ANY (string_to_array(w.value, E'\x1e'))
          AND found_by = w.path AND coalesce(until, 9223372036854775807) BETWEEN :first_id::bigint AND w.top
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        UNION ALL
        SELECT *, xmin AS version FROM subscriptions
        WHERE pattern_key(name) = ANY (string_to_array(w.value, E'\x1e'))
          AND found_by > w.path AND found_by < w.next AND found_by <> '' AND coalesce(until, 9223372036854775807) >= :first_id
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        LIMIT coalesce(:total::bigint, :most)
    ) AS s
    WHERE w.by = 'pattern'
    UNION ALL
    SELECT w.by, w.value, w.tenant, s.* FROM wanted w, LATERAL (
        SELECT *, xmin AS version FROM subscriptions
        WHERE coalesce(tenant_id, '') = w.tenant AND name BETWEEN w.value AND w.value AND name = w.value AND NOT is_pattern
          AND found_by = w.path AND coalesce(until, 9223372036854775807) BETWEEN :first_id::bigint AND w.top
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        UNION ALL
        SELECT *, xmin AS version FROM subscriptions
        WHERE coalesce(tenant_id, '') = w.tenant AND name BETWEEN w.value AND w.value AND name = w.value AND NOT is_pattern
          AND found_by > w.path AND found_by < w.next AND found_by <> '' AND coalesce(until, 9223372036854775807) >= :first_id
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        LIMIT :most::bigint
    ) AS s
    WHERE w.by = 'tenant'
    UNION ALL
    SELECT w.by, '', w.tenant, s.* FROM wanted w, LATERAL (
        SELECT *, xmin AS version FROM subscriptions
        WHERE coalesce(tenant_id, '') = w.tenant AND pattern_key(name) = ANY (string_to_array(w.value, E'\x1e'))
          AND found_by = w.path AND coalesce(until, 9223372036854775807) BETWEEN :first_id::bigint AND w.top
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        UNION ALL
        SELECT *, xmin AS version FROM subscriptions
        WHERE coalesce(tenant_id, '') = w.tenant AND pattern_key(name) = ANY (string_to_array(w.value, E'\x1e'))
          AND found_by > w.path AND found_by < w.next AND found_by <> '' AND coalesce(until, 9223372036854775807) >= :first_id
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        LIMIT coalesce(:total::bigint, :most)
    ) AS s
    WHERE w.by = 'tenants_pattern'
    UNION ALL
    SELECT w.by, w.value, w.tenant, s.* FROM wanted w, LATERAL (
        SELECT *, xmin AS version FROM subscriptions
        WHERE execution_id BETWEEN w.value AND w.value AND coalesce(until, 9223372036854775807) >= :first_id
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        LIMIT :most
    ) AS s
    WHERE w.by = 'execution'
    UNION ALL
    SELECT 'filter', '', '', s.* FROM (
        SELECT *, xmin AS version FROM subscriptions
        WHERE filter_keys(name, tenant_id, filter) && (
            SELECT array_agg(filter_key(k.tenant, k.place, k.path, k.text))
            FROM json_to_recordset(:keys::json) AS k (tenant text, place text, path text, text text)
        ) AND filter_path <> '' AND until IS NULL
          AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
          AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
        LIMIT coalesce(:total, :most)
    ) AS s
    UNION ALL
    SELECT 'span', p.number::text, '', f.* FROM points p, LATERAL (
        SELECT DISTINCT ON (s.id) s.* FROM unnest(p.points) AS q (point), LATERAL (
            SELECT *, xmin AS version FROM subscriptions
            WHERE filter_range(NULL, name, filter) @> filter_point(NULL, p.place, p.path, q.point)
              AND starts_with(found_by, '<') AND until IS NULL
              AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
              AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
            LIMIT coalesce(:total, :most)
        ) AS s
        ORDER BY s.id LIMIT coalesce(:total, :most)
    ) AS f
    WHERE p.tenant IS NULL
    UNION ALL
    SELECT 'span', p.number::text, '', f.* FROM points p, LATERAL (
        SELECT DISTINCT ON (s.id) s.* FROM unnest(p.points) AS q (point), LATERAL (
            SELECT *, xmin AS version FROM subscriptions
            WHERE filter_range(coalesce(tenant_id, ''), name, filter) @> filter_point(p.tenant, p.place, p.path, q.point)
              AND starts_with(found_by, '<') AND until IS NULL
              AND consumed_by IS NULL AND disabled_because IS NULL AND since < :last_id::bigint
              AND (execution_id IS NOT NULL OR NOT :in_execution::boolean)
            LIMIT coalesce(:total, :most)
        ) AS s
        ORDER BY s.id LIMIT coalesce(:total, :most)
    ) AS f
    WHERE p.tenant IS NOT NULL
) AS found
LIMIT :total;

-- name: changed
-- Those of the subscriptions whose rows have been changed since they had `versions`.
SELECT id, name, tenant_id, execution_id, once, filter, ordered, app_of(kind, address) AS app, max_in_flight, max_per_second,
       owner_tenants, owner_untenanted, created_at, since, until, consumed_by, disabled_because
FROM unnest(:subscription_ids::bigint[], :versions::xid[]) AS c (key, version)
JOIN subscriptions s ON s.id = c.key AND s.xmin <> c.version;
