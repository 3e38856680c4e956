-- Statements of broker.transport.embedded; the tables are described in migrations/0002.sql.
-- Whatever makes messages ready tells the channel `transport` the queue's name.

-- name: lock_topology
-- One declaration at a time; publishers do not wait for it.
LOCK TABLE transport.exchanges IN SHARE ROW EXCLUSIVE MODE

-- name: declare_exchange
-- Return whether the exchange $1 is of kind $2 now.
WITH created AS (
    INSERT INTO transport.exchanges (name, kind) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING kind
)
SELECT kind = $2 FROM (SELECT kind FROM created UNION ALL SELECT kind FROM transport.exchanges WHERE name = $1) AS found

-- name: declare_queue
-- Return whether the queue $1 has the arguments $2 now.
WITH created AS (
    INSERT INTO transport.queues (name, arguments) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING arguments
)
SELECT arguments = $2
FROM (SELECT arguments FROM created UNION ALL SELECT arguments FROM transport.queues WHERE name = $1) AS found

-- name: bind
-- Route from exchange $1 by key $2 to the queue $3 or the exchange $4.
INSERT INTO transport.bindings (source, routing_key, queue, exchange) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: publish
-- Store a batch: exchanges $1, routing keys $2, properties $3, bodies $4. Return the positions (from 1) of the
-- messages that reached a queue. The bindings are read by the very statement that stores.
WITH routed AS MATERIALIZED (
    SELECT sent.*, queue
    FROM unnest($1::text[], $2::json[], $3::json[], $4::bytea[])
        WITH ORDINALITY AS sent (exchange, keys, properties, body, position)
    CROSS JOIN LATERAL transport.route(exchange, keys) AS queue
), stored AS (
    INSERT INTO transport.messages (queue, keys, properties, body)
    SELECT queue, keys, properties, body FROM routed ORDER BY position
)
SELECT position, pg_notify('transport', queue) FROM routed

-- name: own
-- Return a new owner's number, whose lock this connection holds from now on.
SELECT owner FROM CAST(nextval('transport.owners') AS integer) AS owner, pg_advisory_lock(7305002, owner)

-- name: claim
-- Hand out up to $3 messages of queue $1 to owner $2. (An array, because its plan is always a look-up by key,
-- whatever the statistics say about the backlog.)
UPDATE transport.messages SET owner = $2
WHERE queue = $1 AND id = ANY (ARRAY(
    SELECT id FROM transport.messages WHERE queue = $1 AND owner IS NULL ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
))
RETURNING id, properties, body, returned

-- name: ack
-- Forget the messages $3 of queue $1, as far as owner $2 holds them.
DELETE FROM transport.messages WHERE queue = $1 AND owner = $2 AND id = ANY ($3::bigint[])

-- name: reject
-- Declare the messages $3 of queue $1 poison, as far as owner $2 holds them.
UPDATE transport.messages SET owner = 0 WHERE queue = $1 AND owner = $2 AND id = ANY ($3::bigint[])

-- name: give_back
-- Return what the owners $1 hold to its queues, in place; only the messages $2, if given. What was returned more
-- often than the queue's delivery limit allows is poison.
UPDATE transport.messages AS message
SET returned = returned + 1,
    owner = CASE WHEN returned + 1 > (queue.arguments ->> 'x-delivery-limit')::integer THEN 0 END
FROM transport.queues AS queue
WHERE queue.name = message.queue AND owner = ANY ($1::integer[]) AND ($2::bigint[] IS NULL OR id = ANY ($2))
RETURNING pg_notify('transport', queue.name)

-- name: dead_owners
-- Return the owners whose connection is gone though messages still carry their number.
SELECT owner FROM transport.messages WHERE owner > 0
EXCEPT
SELECT objid::bigint::integer FROM pg_locks
WHERE locktype = 'advisory' AND classid = 7305002 AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: bury
-- Move what is poison to where its queue's dead-letter exchange routes it; without such an exchange it is dropped,
-- as in RabbitMQ. What the exchange does not route stays poison, and is tried again.
WITH dead AS MATERIALIZED (
    SELECT message.*, arguments ->> 'x-dead-letter-exchange' AS exchange
    FROM transport.messages AS message JOIN transport.queues ON name = queue
    WHERE owner = 0 FOR UPDATE OF message SKIP LOCKED
), routed AS MATERIALIZED (
    SELECT dead.*, destination FROM dead CROSS JOIN LATERAL transport.route(exchange, keys) AS destination
), stored AS (
    INSERT INTO transport.messages (queue, keys, properties, body)
    SELECT destination, keys, properties, body FROM routed ORDER BY id
), gone AS (
    DELETE FROM transport.messages AS message USING dead
    WHERE message.queue = dead.queue AND message.id = dead.id
        AND (dead.exchange IS NULL OR dead.id IN (SELECT id FROM routed))
)
SELECT pg_notify('transport', destination) FROM routed

-- name: depth
-- Return how many messages of queue $1 are ready, or nothing if there is no such queue.
SELECT (SELECT count(*) FROM transport.messages WHERE queue = name AND owner IS NULL)
FROM transport.queues WHERE name = $1
