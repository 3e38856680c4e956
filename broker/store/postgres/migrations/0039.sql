-- Shards: into how many queues the record queue and the attempt queue are split ------------------------------------------

CREATE TABLE shards (
    queue text COLLATE "C" PRIMARY KEY,
    published integer NOT NULL,
    consumed integer NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK (published BETWEEN 1 AND consumed),
    CHECK (consumed <= 32)
);
COMMENT ON TABLE shards IS 'Into how many shards a queue is split; one that has no row is not split.';
COMMENT ON COLUMN shards.published IS 'How many of them get messages.';
COMMENT ON COLUMN shards.consumed IS 'How many of them are declared and consumed: more than published while their number changes.';
