-- name: claim_id
-- Claim the id of a message, unless another one has it until its time to live, of `seconds`, is over.
INSERT INTO message_ids AS known (digest, signal_id, until)
VALUES (:digest, :signal_id, now() + make_interval(secs => :seconds::double precision))
ON CONFLICT (digest) DO UPDATE SET signal_id = EXCLUDED.signal_id, until = EXCLUDED.until
WHERE known.until <= now() OR known.signal_id = EXCLUDED.signal_id
RETURNING digest;

-- name: lock_tenant
-- Keep others from buffering messages for a tenant until the transaction ends.
SELECT pg_advisory_xact_lock({locks.BUFFERING}, hashtext(:tenant));

-- name: has_room
-- Whether a message of `bytes` more may be buffered for a tenant.
SELECT count(*) < :most AND coalesce(sum(bytes), 0) + :bytes::int <= :most_bytes::bigint
FROM buffered_messages WHERE tenant = :tenant;

-- name: keep
-- Buffer a message, unless it is buffered or recorded already.
INSERT INTO buffered_messages (id, created_at, until, name, scope, tenant, payload, types, source, token_id, business_key,
                               traceparent, tracestate, hops, bytes)
SELECT :id::bigint, :created_at::timestamptz, now() + make_interval(secs => :seconds::double precision), :name::text, :scope::text,
       :tenant::text, :payload::text, :types::text, :source::text, :token_id::bigint, :business_key::text, :traceparent::text,
       :tracestate::text, :hops::int, :bytes::int
WHERE NOT EXISTS (SELECT FROM matches WHERE signal_id = :id)
ON CONFLICT (id) DO NOTHING;

-- name: holds
SELECT EXISTS (SELECT FROM buffered_messages WHERE id = :signal_id);

-- name: find
-- Up to `limit` messages with ids above :after, and of :names (null: of any), for which a subscription may wait now.
SELECT b.id
FROM buffered_messages b
WHERE b.id > :after AND (:names::text[] IS NULL OR b.name = ANY (:names::text[])) AND b.until > now()
  AND NOT EXISTS (SELECT FROM matches m WHERE m.signal_id = b.id)
  AND (
      EXISTS (
          SELECT FROM subscriptions s
          WHERE s.name = b.name AND s.business_key = b.business_key AND s.execution_id IS NOT NULL
            AND s.until IS NULL AND s.consumed_by IS NULL AND s.disabled_because IS NULL AND NOT s.is_pattern
      ) OR EXISTS (
          SELECT FROM subscriptions s
          WHERE s.name = b.name AND s.execution_id IS NULL
            AND s.until IS NULL AND s.consumed_by IS NULL AND s.disabled_because IS NULL AND NOT s.is_pattern
      )
  )
ORDER BY b.id LIMIT :limit;

-- name: get
-- The message as a row of `signals`, unless its time to live is over.
SELECT id, created_at, 'accepted' AS state, name, payload, types, scope, nullif(tenant, '') AS tenant_id, NULL AS execution_id,
       NULL AS reach, source, NULL AS source_id, token_id, nullif(business_key, '') AS business_key, NULL AS ordering_key,
       NULL AS deliver_at, NULL AS expires_at, traceparent, tracestate, hops
FROM buffered_messages WHERE id = :signal_id AND until > now();

-- name: take
-- Take a message out of the buffer, unless its time to live is over.
DELETE FROM buffered_messages WHERE id = :signal_id AND until > now() RETURNING id;

-- name: take_expired
-- Take up to `limit` messages out of the buffer, after the first :offset, whose time to live is over: rows of `signals`. The last
-- one is that whose payload fills `max_bytes`.
WITH over AS MATERIALIZED (
    SELECT id, until, bytes FROM buffered_messages
    WHERE until <= now() ORDER BY until, id LIMIT :limit OFFSET :offset FOR UPDATE SKIP LOCKED
), sized AS (
    SELECT id, sum(bytes) OVER (ORDER BY until, id) - bytes AS before FROM over
)
DELETE FROM buffered_messages b USING sized s WHERE b.id = s.id AND s.before < :max_bytes::bigint
RETURNING b.id, b.created_at, 'accepted' AS state, b.name, b.payload, b.types, b.scope, nullif(b.tenant, '') AS tenant_id,
          NULL AS execution_id, NULL AS reach, b.source, NULL AS source_id, b.token_id, nullif(b.business_key, '') AS business_key,
          NULL AS ordering_key, NULL AS deliver_at, NULL AS expires_at, b.traceparent, b.tracestate, b.hops;

-- name: forget_ids
-- Delete up to `limit` ids of messages whose time to live is over.
DELETE FROM message_ids WHERE digest IN (
    SELECT digest FROM message_ids WHERE until <= now() ORDER BY until LIMIT :limit FOR UPDATE SKIP LOCKED
) RETURNING digest;

-- name: count
SELECT count(*) FROM buffered_messages;
