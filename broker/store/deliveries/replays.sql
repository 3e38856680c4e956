-- name: receiver
-- The subscription that signals are replayed to, unless it is deleted.
SELECT * FROM subscriptions WHERE id = :subscription_id AND until IS NULL;

-- name: find_recorded
-- Look at the next :limit recorded signals in the order of recording, after position :after and up to :last_position, with
-- ids above :higher_than and of exactly the name :exact_name. All columns are there of those that :subscription_id may be
-- owed and is not. Null filters are no filters. :names and :permitted_names are regular expressions (see
-- `broker.names.expression`); :tenants and :untenanted say what the caller may read; :with_payloads says whether payloads are needed. The
-- last signal is the one that fills :max_bytes, with its matches and its payload if that is needed; `found` says how many there
-- would have been.
WITH looked AS MATERIALIZED (
    SELECT id, position,
           CASE WHEN :with_payloads::boolean THEN octet_length(payload) ELSE 0 END
           + coalesce((SELECT pg_column_size(subscription_ids) FROM matches WHERE signal_id = signals.id), 0) AS size
    FROM signals
    WHERE position > :after AND (:last_position::bigint IS NULL OR position <= :last_position)
      AND (:higher_than::bigint IS NULL OR id > :higher_than) AND (:exact_name::text IS NULL OR name = :exact_name)
    ORDER BY position LIMIT :limit
), sized AS (
    SELECT id, position, sum(size) OVER (ORDER BY position) - size AS before, count(*) OVER () AS found FROM looked
)
SELECT l.id AS looked_at, l.position, l.found, g.*
FROM sized l
LEFT JOIN LATERAL (
    SELECT id, created_at, state, name, CASE WHEN :with_payloads::boolean THEN payload ELSE '{}' END AS payload, types, scope,
           tenant_id, execution_id, reach, source, source_id, token_id, business_key, ordering_key, deliver_at, expires_at,
           traceparent, tracestate, hops
    FROM signals s
    WHERE s.id = l.id AND state = 'recorded' AND (expires_at IS NULL OR expires_at > now())
      AND (:names::text IS NULL OR '.' || name ~ :names)
      AND (:permitted_names::text IS NULL OR '.' || name ~ :permitted_names)
      AND (:since::timestamptz IS NULL OR created_at >= :since)
      AND (:until::timestamptz IS NULL OR created_at < :until)
      AND is_readable(scope, tenant_id, reach, :tenants::text[], :untenanted::boolean)
      AND NOT EXISTS (
          SELECT FROM matches m WHERE m.signal_id = s.id AND m.subscription_ids @> ARRAY[:subscription_id::bigint] OFFSET 0
      )
      AND NOT EXISTS (
          SELECT FROM match_chunks m
          WHERE m.signal_id = s.id AND m.first_id <= :subscription_id AND m.subscription_ids @> ARRAY[:subscription_id] OFFSET 0
      )
    LIMIT 1
) g ON true
WHERE l.before < :max_bytes::bigint
ORDER BY l.position;

-- name: last_position
-- The last position of the signals with ids from :first_id to :last_id.
SELECT coalesce(max(position), 0) FROM signals WHERE id BETWEEN :first_id AND :last_id;

-- name: lock_receiver
-- Lock the subscription, so that replays to it come one after the other.
SELECT s.*, statement_timestamp() AS now FROM subscriptions s WHERE id = :subscription_id AND until IS NULL FOR UPDATE;

-- name: lock_matches
-- Lock what signals are owed to, in the order of their keys, to avoid deadlocks. Nothing is added to that afterwards, not even
-- by the recording of a wide one.
SELECT signal_id FROM matches WHERE signal_id = ANY (:signal_ids::bigint[]) ORDER BY signal_id FOR UPDATE;

-- name: add_match
-- Note that signals, whose matches are locked, are owed to the subscription as well; return those that were not.
UPDATE matches m SET subscription_ids = m.subscription_ids || :subscription_id::bigint
WHERE m.signal_id = ANY (:signal_ids::bigint[]) AND NOT m.subscription_ids @> ARRAY[:subscription_id::bigint]
  AND NOT EXISTS (
      SELECT FROM match_chunks c
      WHERE c.signal_id = m.signal_id AND c.first_id <= :subscription_id AND c.subscription_ids @> ARRAY[:subscription_id] OFFSET 0
  )
RETURNING m.signal_id;

-- name: put_first
-- Signals replayed to an ordered subscription come before all others of its ordering groups, in the order of their ids: the
-- sequence numbers of the others are positive.
UPDATE deliveries SET turn = signal_id - 9223372036854775807
WHERE signal_id = ANY (:signal_ids::bigint[]) AND subscription_id = :subscription_id AND ordering_key IS NOT NULL;
