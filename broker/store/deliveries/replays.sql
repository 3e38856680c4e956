-- name: look
-- Look at the next $1 recorded signals in the order of recording, after position $2, up to $12 and with ids after $3, of exactly
-- the name $4 (null: of any). Of those that subscription $5 may be owed and is not, all columns are there: $6 and $7: regular
-- expressions over names (see `broker.names.expression`); accepted at $8 or later and before $9; $10: the tenants the caller
-- sees; $11: whether their payloads are needed. Null filters are no filters.
WITH looked AS MATERIALIZED (
    SELECT id, position FROM signals
    WHERE position > $2 AND ($12::bigint IS NULL OR position <= $12)
      AND ($3::bigint IS NULL OR id > $3) AND ($4::text IS NULL OR name = $4)
    ORDER BY position LIMIT $1
)
SELECT l.id AS looked_at, l.position, g.*
FROM looked l
LEFT JOIN LATERAL (
    SELECT id, created_at, state, name, CASE WHEN $11::boolean THEN payload ELSE '{}' END AS payload, types, scope, tenant_id,
           execution_id, reach, source, source_id, token_id, business_key, ordering_key, deliver_at, expires_at, traceparent
    FROM signals s
    WHERE s.id = l.id AND state = 'recorded' AND (expires_at IS NULL OR expires_at > now())
      AND ($6::text IS NULL OR '.' || name ~ $6)
      AND ($7::text IS NULL OR '.' || name ~ $7)
      AND ($8::timestamptz IS NULL OR created_at >= $8)
      AND ($9::timestamptz IS NULL OR created_at < $9)
      AND ($10::text[] IS NULL OR (
          (tenant_id IS NULL OR tenant_id = ANY ($10))
          AND (reach IS NULL OR json_array_length(reach) = 0
               OR EXISTS (SELECT FROM json_array_elements_text(reach) AS r (tenant) WHERE r.tenant = ANY ($10)))
      ))
      AND NOT EXISTS (SELECT FROM matches m WHERE m.signal_id = s.id AND m.subscription_ids @> ARRAY[$5::bigint] OFFSET 0)
    LIMIT 1
) g ON true
ORDER BY l.position;

-- name: end
-- Up to which position the signals with ids from $1 to $2 stand.
SELECT coalesce(max(position), 0) FROM signals WHERE id BETWEEN $1 AND $2;

-- name: lock
-- Lock subscription $1: of two replays to it, one comes after the other.
SELECT s.*, statement_timestamp() AS now FROM subscriptions s WHERE id = $1 AND until IS NULL FOR UPDATE;

-- name: note
-- Note that signals $1 are owed to subscription $2 as well; return those that were not. Locked in the order of their keys, so
-- that nobody waits in a circle.
WITH chosen AS (
    SELECT signal_id FROM matches WHERE signal_id = ANY ($1::bigint[]) ORDER BY signal_id FOR UPDATE
)
UPDATE matches m SET subscription_ids = m.subscription_ids || $2::bigint
FROM chosen c WHERE m.signal_id = c.signal_id AND NOT m.subscription_ids @> ARRAY[$2::bigint]
RETURNING m.signal_id;

-- name: put_in_front
-- Signals $1, which were replayed to the ordered subscription $2, come before all that come to its lines by themselves, in the
-- order of their ids: turns are positive.
UPDATE deliveries SET turn = signal_id - 9223372036854775807
WHERE signal_id = ANY ($1::bigint[]) AND subscription_id = $2 AND ordering_key IS NOT NULL;
