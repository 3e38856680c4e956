-- name: create
-- Create a subscription. It takes its number in `signal_ids` here: it matches the signals with later numbers only. For the
-- lock see `next`. A principal that is limited to tenants creates nothing in an execution that belongs to others. Its audit event
-- is written by the same statement, if it is :audited, so that the lock is held no longer.
WITH administration AS MATERIALIZED (
    SELECT pg_advisory_xact_lock({locks.ADMINISTRATION}) WHERE :audited::boolean
), lock AS MATERIALIZED (
    SELECT pg_advisory_xact_lock({locks.NUMBERING}) FROM (SELECT count(*) FROM administration) AS first
), wanted AS (
    SELECT {columns}, belongs_to(tenant_id, :owner_tenants::text[]) AS tenants
    FROM json_populate_record(NULL::subscriptions, :spec)
), created AS (
    INSERT INTO subscriptions ({columns}, created_by, created_by_token, owner_tenants, owner_untenanted, secret, since)
    SELECT {columns}, :created_by, :created_by_token, :owner_tenants, :owner_untenanted, :secret,
           (SELECT nextval('signal_ids') FROM lock)
    FROM wanted w
    WHERE :owner_tenants IS NULL OR coalesce((
        SELECT coalesce(first.tenants && w.tenants OR first.tenants = w.tenants, false)
        FROM (
            SELECT belongs_to(s.tenant_id, s.owner_tenants) AS tenants FROM subscriptions s
            WHERE s.execution_id = w.execution_id AND s.until IS NULL AND s.consumed_by IS NULL
            ORDER BY s.id LIMIT 1
        ) AS first
    ), true)
    RETURNING *
), noted AS (
    INSERT INTO audit_events (type, subject_id, principal, user_id, token_id, names, tenants, after)
    SELECT :type, id, :created_by, :created_by_user, :created_by_token, :names, :tenants, :after
    FROM created WHERE :audited
)
SELECT * FROM created;

-- name: find_like
-- The oldest subscription that a caller owns and that has the name, the tenant, the execution, the target, the description, `once`
-- and `ordered` of `spec`.
SELECT s.* FROM json_populate_record(NULL::subscriptions, :spec) w
JOIN subscriptions s ON s.name = w.name AND s.kind = w.kind AND s.address = w.address AND s.steps IS NULL
    AND s.once = w.once AND s.ordered = w.ordered
    AND (s.tenant_id, s.execution_id, s.description) IS NOT DISTINCT FROM (w.tenant_id, w.execution_id, w.description)
WHERE s.until IS NULL AND is_owned(s.tenant_id, s.owner_tenants, :owner_tenants::text[], :owner_untenanted::boolean)
ORDER BY s.id LIMIT 1;

-- name: quotas_of
-- Whether a token or tenants have quotas of subscriptions.
SELECT EXISTS (
    SELECT FROM quotas q
    WHERE q.subscriptions IS NOT NULL
      AND CASE q.kind WHEN 'token' THEN q.subject = :token_id::bigint::text ELSE q.subject = ANY (:tenants::text[]) END
);

-- name: lock_execution
-- Keep others from subscribing in an execution until the transaction ends.
SELECT pg_advisory_xact_lock({locks.EXECUTIONS}, hashtext(:execution_id));

-- name: lock_creation
-- Keep others from creating subscriptions until the transaction ends.
SELECT pg_advisory_xact_lock({locks.NUMBERING});

-- name: used_up
-- The first of the quotas of subscriptions, of a token and of tenants, that allows no more than there are.
SELECT q.kind, q.subject, q.subscriptions AS most
FROM quotas q
WHERE q.subscriptions IS NOT NULL
  AND CASE q.kind WHEN 'token' THEN q.subject = :token_id::bigint::text ELSE q.subject = ANY (:tenants::text[]) END
  AND q.subscriptions <= CASE q.kind
      WHEN 'token' THEN (
          SELECT count(*) FROM subscriptions WHERE created_by_token = :token_id::bigint AND until IS NULL
      )
      ELSE (
          SELECT count(*) FROM subscriptions s
          WHERE s.until IS NULL AND (s.tenant_id = q.subject OR s.tenant_id IS NULL AND q.subject = ANY (s.owner_tenants))
      )
  END
ORDER BY q.kind DESC, q.subject LIMIT 1;

-- name: renew
-- Give a handler's subscription, if it exists, `spec`. It keeps its deliveries, its pause and its number; if
-- it is `once` no longer, it receives signals again.
WITH n AS (
    SELECT * FROM json_populate_record(NULL::subscriptions, :spec)
)
UPDATE subscriptions s
SET ({columns}, consumed_by) = (SELECT {columns}, CASE WHEN once THEN s.consumed_by END FROM n)
FROM n
WHERE s.kind = 'handler' AND s.address = n.address AND s.until IS NULL
RETURNING s.*;

-- name: of_app
-- The subscriptions of an app's handlers.
SELECT * FROM subscriptions
WHERE kind = 'handler' AND split_part(address, '/', 1) = :app AND until IS NULL ORDER BY id;

-- name: apps
-- The apps that have handlers.
SELECT DISTINCT split_part(address, '/', 1) AS app FROM subscriptions WHERE kind = 'handler' AND until IS NULL ORDER BY app;

-- name: get
SELECT * FROM subscriptions WHERE id = :subscription_id AND (:deleted::boolean OR until IS NULL);

-- name: waiting_at
-- Name and tenants of the subscriptions that wait in an execution, in the order of their creation.
SELECT name, belongs_to(tenant_id, owner_tenants) AS tenants FROM subscriptions
WHERE execution_id = :execution_id AND until IS NULL AND consumed_by IS NULL ORDER BY id;

-- name: lock
-- Lock a subscription against other changes.
SELECT * FROM subscriptions WHERE id = :subscription_id AND until IS NULL FOR UPDATE;

-- name: change
-- Give the locked subscription `spec`, and `secret` if there is one.
UPDATE subscriptions s
SET ({columns}, secret) = (
    SELECT {columns}, coalesce(:secret, s.secret) FROM json_populate_record(NULL::subscriptions, :spec)
)
WHERE s.id = :subscription_id
RETURNING s.*;

-- name: rotate_secret
-- Replace the secret of the locked subscription; the previous one stays valid for `grace` seconds, if it is to be :kept.
UPDATE subscriptions
SET secret = :secret,
    previous_secret = CASE WHEN :kept::boolean THEN secret END,
    previous_secret_until = CASE WHEN :kept THEN now() + make_interval(secs => :grace) END
WHERE id = :subscription_id
RETURNING *;

-- name: next
-- Take the number of a deletion, in a transaction of its own. PostgreSQL logs a sequence 32 numbers ahead, together with the
-- transaction that needed the log record: if another transaction numbered a signal before that one was committed, a crash
-- would give the number twice. So every number is taken under the lock, which is released once the transaction is on disk.
SELECT nextval('signal_ids') FROM pg_advisory_xact_lock({locks.NUMBERING});

-- name: delete
-- Delete a subscription; `number` is the number of the deletion.
UPDATE subscriptions SET until = :number WHERE id = :subscription_id AND until IS NULL RETURNING *;
