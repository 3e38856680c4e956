-- Subscriptions that still receive signals, as Camunda's clients list them.

-- name: find
-- A page of those subscriptions that the caller sees (see the functions) and that still receive signals; `chosen` is a
-- condition, `order` their order. A null limit does not limit.
SELECT id, name, execution_id, tenant_id, created_at FROM subscriptions
WHERE until IS NULL AND consumed_by IS NULL AND {chosen}
  AND is_seen(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
  AND is_permitted(name, is_pattern, :permitted_names::text, :permitted_patterns::text[])
ORDER BY {order}
OFFSET :offset LIMIT :limit;

-- name: count
-- How many subscriptions `find` finds of the same ones.
SELECT count(*) FROM subscriptions
WHERE until IS NULL AND consumed_by IS NULL AND {chosen}
  AND is_seen(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
  AND is_permitted(name, is_pattern, :permitted_names::text, :permitted_patterns::text[]);

-- name: executions
-- A page of the executions that still receive signals, and their tenants, of subscriptions that the caller sees; `chosen` is a
-- condition. A null limit does not limit.
SELECT DISTINCT execution_id, tenant_id FROM subscriptions
WHERE until IS NULL AND consumed_by IS NULL AND execution_id IS NOT NULL AND {chosen}
  AND is_seen(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
  AND is_permitted(name, is_pattern, :permitted_names::text, :permitted_patterns::text[])
ORDER BY execution_id, tenant_id
OFFSET :offset LIMIT :limit;

-- name: count_executions
-- How many executions `executions` finds of the same subscriptions.
SELECT count(*) FROM (
    SELECT DISTINCT execution_id, tenant_id FROM subscriptions
    WHERE until IS NULL AND consumed_by IS NULL AND execution_id IS NOT NULL AND {chosen}
      AND is_seen(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
      AND is_permitted(name, is_pattern, :permitted_names::text, :permitted_patterns::text[])
) AS found;
