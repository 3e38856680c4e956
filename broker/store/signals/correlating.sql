-- name: find
-- Up to `most` subscriptions of exactly this name that receive signals now, in the order of their ids. They have what a message
-- names: `found` is a condition that an index serves, and `named` are the others. (OFFSET 0 makes it a look-up by that
-- index, however many have the name.)
SELECT id, name, tenant_id, execution_id, once, filter, ordered, app_of(kind, address) AS app, max_in_flight, max_per_second,
       owner_tenants, owner_untenanted, created_at, since, until, consumed_by, disabled_because, version
FROM (
    SELECT *, xmin AS version FROM subscriptions
    WHERE until IS NULL AND consumed_by IS NULL AND {found} OFFSET 0
) AS s
WHERE name = :name AND NOT is_pattern AND disabled_because IS NULL AND execution_id IS NOT NULL AND {named}
ORDER BY id LIMIT :most;

-- name: find_in_executions
-- The same of a message that names nothing else.
SELECT id, name, tenant_id, execution_id, once, filter, ordered, app_of(kind, address) AS app, max_in_flight, max_per_second,
       owner_tenants, owner_untenanted, created_at, since, until, consumed_by, disabled_because, xmin AS version
FROM subscriptions
WHERE name BETWEEN :name AND :name AND name = :name AND execution_id IS NOT NULL
  AND until IS NULL AND consumed_by IS NULL AND NOT is_pattern AND disabled_because IS NULL
ORDER BY name, id LIMIT :most;

-- name: find_outside
-- The same of those that wait in no execution, whatever a message names.
SELECT id, name, tenant_id, execution_id, once, filter, ordered, app_of(kind, address) AS app, max_in_flight, max_per_second,
       owner_tenants, owner_untenanted, created_at, since, until, consumed_by, disabled_because, xmin AS version
FROM subscriptions
WHERE name BETWEEN :name AND :name AND name = :name AND execution_id IS NULL
  AND until IS NULL AND consumed_by IS NULL AND NOT is_pattern AND disabled_because IS NULL
ORDER BY name, id LIMIT :most;

-- name: owed
-- The subscriptions that a recorded signal is owed to; a row of nulls if it is owed to none.
SELECT owed.id, s.tenant_id, s.execution_id
FROM matches m LEFT JOIN unnest(m.subscription_ids) AS owed (id) ON true LEFT JOIN subscriptions s ON s.id = owed.id
WHERE m.signal_id = :signal_id ORDER BY owed.id;

-- name: was_accepted
-- Whether the message that a caller sent first with a key is recorded or buffered.
SELECT EXISTS (
    SELECT FROM idempotency_keys k
    WHERE k.principal = :principal AND k.key = :key AND k.created_at > now() - interval '24 hours'
      AND (
          EXISTS (SELECT FROM matches m WHERE m.signal_id = k.signal_id)
          OR EXISTS (SELECT FROM buffered_messages b WHERE b.id = k.signal_id)
      )
);
