-- The queues of the embedded transport; migrations/0002.sql describes the tables.
-- A statement that makes messages ready notifies the channel `transport` with the queue's name.

-- name: lock_topology
-- One declaration at a time; publishers do not wait for it.
LOCK TABLE transport.exchanges IN SHARE ROW EXCLUSIVE MODE

-- name: declare_exchange
-- Create an exchange, unless it exists; return whether it is of that kind.
WITH created AS (
    INSERT INTO transport.exchanges (name, kind) VALUES (:name, :kind) ON CONFLICT DO NOTHING RETURNING kind
)
SELECT kind = :kind
FROM (SELECT kind FROM created UNION ALL SELECT kind FROM transport.exchanges WHERE name = :name) AS found

-- name: declare_queue
-- Create a queue, unless it exists; return whether it has these arguments, or one of the earlier ones.
WITH created AS (
    INSERT INTO transport.queues (name, arguments) VALUES (:name, :arguments) ON CONFLICT DO NOTHING RETURNING arguments
)
SELECT arguments = :arguments OR arguments IN (SELECT jsonb_array_elements(:earlier))
FROM (SELECT arguments FROM created UNION ALL SELECT arguments FROM transport.queues WHERE name = :name) AS found

-- name: bind
-- Route from the exchange `source` to a queue or to an exchange; the other one is null.
INSERT INTO transport.bindings (source, routing_key, queue, exchange)
VALUES (:source, :routing_key, :queue, :exchange) ON CONFLICT DO NOTHING

-- name: unbind
-- Remove a binding; return it, if there was one.
DELETE FROM transport.bindings
WHERE source = :source AND routing_key = :routing_key
    AND queue IS NOT DISTINCT FROM :queue AND exchange IS NOT DISTINCT FROM :exchange
RETURNING 1

-- name: publish
-- Store a batch of messages. Return the positions (from 1) of those that reached a queue. The statement that stores the
-- messages also reads the bindings, once for all messages that go the same way.
WITH sent AS MATERIALIZED (
    SELECT *
    FROM unnest(:exchanges::text[], :keys::text[], :properties::json[], :bodies::bytea[])
        WITH ORDINALITY AS sent (exchange, keys, properties, body, position)
), routes AS MATERIALIZED (
    SELECT exchange, keys, queue
    FROM (SELECT DISTINCT exchange, keys FROM sent) AS ways
    CROSS JOIN LATERAL transport.route(exchange, keys::json) AS queue
), routed AS MATERIALIZED (
    SELECT position, queue, keys::json, properties, body FROM sent JOIN routes USING (exchange, keys)
), stored AS (
    INSERT INTO transport.messages (queue, keys, properties, body)
    SELECT queue, keys, properties, body FROM routed ORDER BY position
)
SELECT position, pg_notify('transport', queue) FROM routed

-- name: add_owner
-- Return the number of a new owner, whose lock this session holds from now on.
SELECT owner FROM CAST(nextval('transport.owners') AS integer) AS owner, pg_advisory_lock({locks.CONSUMERS}, owner)

-- name: claim
-- Hand out up to `limit` messages of a queue to an owner, as many as have `room` bytes: with the first one that begins
-- beyond them it stops. (An array makes it a look-up by key whatever the statistics say about the backlog.)
UPDATE transport.messages SET owner = :owner::int
WHERE queue = :queue AND id = ANY (ARRAY(
    SELECT id FROM (
        SELECT id, sum(size) OVER (ORDER BY id) - size AS before FROM (
            SELECT id, octet_length(body) AS size FROM transport.messages
            WHERE queue = :queue AND owner IS NULL ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
        ) AS ready
    ) AS sized WHERE before < :room::bigint
))
RETURNING id, properties, body, returned

-- name: ack
-- Delete those of the messages that the owner holds.
DELETE FROM transport.messages WHERE queue = :queue AND owner = :owner::int AND id = ANY (:ids::bigint[])

-- name: reject
-- Declare those of the messages poison that the owner holds.
UPDATE transport.messages SET owner = 0 WHERE queue = :queue AND owner = :owner::int AND id = ANY (:ids::bigint[])

-- name: give_back
-- Return messages that the owners hold to their place in the queues: those with these ids, or all if `ids` is null. A
-- message that was returned more often than the queue's delivery limit allows is poison.
UPDATE transport.messages AS message
SET returned = returned + 1,
    owner = CASE WHEN returned + 1 > (queue.arguments ->> 'x-delivery-limit')::integer THEN 0 END
FROM transport.queues AS queue
WHERE queue.name = message.queue AND owner = ANY (:owners::int[]) AND (:ids::bigint[] IS NULL OR id = ANY (:ids))
RETURNING pg_notify('transport', queue.name)

-- name: dead_owners
-- Return the owners whose sessions have ended but that still hold messages.
SELECT owner FROM transport.messages WHERE owner > 0
EXCEPT
SELECT objid::bigint::integer FROM pg_locks
WHERE locktype = 'advisory' AND classid = {locks.CONSUMERS} AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: bury
-- Move poison to where its queue's dead-letter exchange routes it; without such an exchange it is dropped, as in RabbitMQ.
-- Poison that the exchange does not route stays where it is, and is tried again.
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
-- Return how many messages of a queue are ready; no row if there is no such queue.
SELECT (SELECT count(*) FROM transport.messages WHERE queue = name AND owner IS NULL)
FROM transport.queues WHERE name = :queue
