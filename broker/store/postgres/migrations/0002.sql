-- The embedded transport: exchanges, queues, bindings and messages as AMQP 0-9-1 defines them.

CREATE SCHEMA transport;

CREATE TABLE transport.exchanges (
    name text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('fanout', 'topic', 'direct'))
);

-- The default exchange; declaring a queue binds it there by its name.
INSERT INTO transport.exchanges (name, kind) VALUES ('', 'direct');

CREATE TABLE transport.queues (
    name text PRIMARY KEY,
    arguments jsonb NOT NULL
);

-- The regular expression of a topic binding. It is matched against a key in which a dot stands before every word,
-- so that `#` (any number of words, none included) takes its dots along.
CREATE FUNCTION transport.pattern(routing_key text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (
    SELECT '^' || coalesce(string_agg(
        CASE word
            WHEN '*' THEN '\.[^.]*'
            WHEN '#' THEN '(\.[^.]*)*'
            ELSE '\.' || regexp_replace(word, '([][\\^$|?*+(){}])', '\\\1', 'g')
        END, '' ORDER BY position), '') || '$'
    FROM unnest(string_to_array(routing_key, '.')) WITH ORDINALITY AS words (word, position)
);

CREATE TABLE transport.bindings (
    source text NOT NULL REFERENCES transport.exchanges,
    routing_key text NOT NULL,
    queue text REFERENCES transport.queues,
    exchange text REFERENCES transport.exchanges,
    pattern text NOT NULL GENERATED ALWAYS AS (transport.pattern(routing_key)) STORED,
    CHECK (num_nonnulls(queue, exchange) = 1)
);

CREATE UNIQUE INDEX bindings_once
    ON transport.bindings (source, routing_key, coalesce(queue, ''), coalesce(exchange, ''));

-- The queues that a message with these routing keys (its own and those of its CC header) reaches, each once.
CREATE FUNCTION transport.route(exchange text, keys json) RETURNS SETOF text LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH RECURSIVE reached (exchange, queue, key) AS (
        SELECT route.exchange, NULL, key FROM json_array_elements_text(route.keys) AS key
        UNION
        SELECT bound.exchange, bound.queue, reached.key
        FROM reached
        JOIN transport.exchanges AS source ON source.name = reached.exchange
        JOIN transport.bindings AS bound ON bound.source = source.name AND CASE source.kind
            WHEN 'fanout' THEN true
            WHEN 'direct' THEN bound.routing_key = reached.key
            WHEN 'topic' THEN CASE reached.key WHEN '' THEN '' ELSE '.' || reached.key END ~ bound.pattern
        END
    )
    SELECT DISTINCT reached.queue FROM reached WHERE reached.queue IS NOT NULL;
END;

-- Who holds messages: one number per consumer, handed out once. A consumer keeps the advisory lock of its number
-- on the connection it consumes with, so its number is dead as soon as that connection is.
CREATE SEQUENCE transport.owners AS integer;

-- A message in a queue. `owner` is NULL while it is ready, its consumer's number while it is handed out, and 0 when
-- it is poison: off to the dead-letter exchange as soon as that routes it somewhere.
-- There is no foreign key to the queue: checking it would lock the queue's row for every message.
CREATE TABLE transport.messages (
    queue text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    keys json NOT NULL,
    properties json NOT NULL,
    body bytea NOT NULL,
    returned integer NOT NULL DEFAULT 0,
    owner integer,
    PRIMARY KEY (queue, id)
) WITH (
    -- Every message dies young: vacuum by a number of dead rows, however large the backlog, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX messages_ready ON transport.messages (queue, id) WHERE owner IS NULL;
CREATE INDEX messages_held ON transport.messages (owner) WHERE owner IS NOT NULL;
