-- Signals in blocks ---------------------------------------------------------------------------------------------

CREATE TABLE blocks (
    first_id   bigint PRIMARY KEY,
    next_id    bigint NOT NULL CHECK (next_id > first_id),
    last_id    bigint,
    opened_at  timestamptz,
    closed_at  timestamptz,
    emptied_at timestamptz
);
COMMENT ON TABLE blocks IS
    'Ranges of ids, and so of time: the partitions of signals, matches, deliveries and attempts, all cut alike and named by the first id.';
COMMENT ON COLUMN blocks.next_id IS 'The first id of what comes after it.';
COMMENT ON COLUMN blocks.last_id IS 'The last id that was given in it; null until it is closed.';
COMMENT ON COLUMN blocks.opened_at IS 'When the first id in it was given; null: none was.';
COMMENT ON COLUMN blocks.closed_at IS 'Since when no id in it is given any more.';
COMMENT ON COLUMN blocks.emptied_at IS 'When it was last emptied but for what was still owed.';

CREATE TABLE retired_blocks (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    first_id   bigint NOT NULL,
    next_id    bigint NOT NULL,
    kept       bigint[] NOT NULL,
    retired_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE retired_blocks IS
    'Tables of blocks that were emptied, called retired_..._<number>: nobody sees them any more, until they are archived and dropped.';
COMMENT ON COLUMN retired_blocks.kept IS 'Signals that are in the block still, and only in copy here.';

-- The tables become the first block. An older recorder may go on for a while, and makes no blocks: so that one is long.

DROP TRIGGER count_inserted ON matches;
DROP TRIGGER count_updated ON matches;
DROP TRIGGER count_deleted ON matches;
DROP TRIGGER count_inserted ON deliveries;
DROP TRIGGER count_updated ON deliveries;
DROP TRIGGER count_deleted ON deliveries;

ALTER TABLE signals RENAME TO signals_1;
ALTER TABLE matches RENAME TO matches_1;
ALTER TABLE deliveries RENAME TO deliveries_1;
ALTER TABLE attempts RENAME TO attempts_1;
ALTER INDEX signals_pkey RENAME TO signals_1_pkey;
ALTER INDEX signals_by_source RENAME TO signals_1_by_source;
ALTER INDEX signals_scheduled RENAME TO signals_1_scheduled;
ALTER INDEX signals_from_endpoints RENAME TO signals_1_from_endpoints;
ALTER INDEX signals_by_position RENAME TO signals_1_by_position;
ALTER INDEX signals_by_moment RENAME TO signals_1_by_moment;
ALTER INDEX signals_by_name RENAME TO signals_1_by_name;
ALTER INDEX signals_by_tenant RENAME TO signals_1_by_tenant;
ALTER INDEX signals_by_execution RENAME TO signals_1_by_execution;
ALTER INDEX matches_pkey RENAME TO matches_1_pkey;
ALTER INDEX deliveries_pkey RENAME TO deliveries_1_pkey;
ALTER INDEX deliveries_due RENAME TO deliveries_1_due;
ALTER INDEX deliveries_by_subscription RENAME TO deliveries_1_by_subscription;
ALTER INDEX deliveries_dead RENAME TO deliveries_1_dead;
ALTER INDEX deliveries_parked RENAME TO deliveries_1_parked;
ALTER INDEX deliveries_held RENAME TO deliveries_1_held;
ALTER INDEX attempts_pkey RENAME TO attempts_1_pkey;

CREATE TABLE signals (LIKE signals_1 INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (id);
CREATE TABLE matches (LIKE matches_1 INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (signal_id);
CREATE TABLE deliveries (LIKE deliveries_1 INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (signal_id);
CREATE TABLE attempts (LIKE attempts_1 INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (signal_id);
COMMENT ON TABLE matches IS
    'What was owed when a signal was recorded, for every one of them. Written beside the deliveries and not from them, so that the ledger can fail.';

DO $$
DECLARE
    next_id bigint := greatest(
        (SELECT CASE WHEN is_called THEN last_value + 1000000 ELSE 100001 END FROM signal_ids),
        (SELECT max(id) + 1000000 FROM signals_1)
    );
    parent text;
BEGIN
    INSERT INTO blocks (first_id, next_id, opened_at) VALUES (1, next_id, (SELECT now() FROM signals_1 LIMIT 1));
    FOREACH parent IN ARRAY ARRAY['signals', 'matches', 'deliveries', 'attempts'] LOOP
        EXECUTE format('ALTER TABLE %1$I ATTACH PARTITION %1$s_1 FOR VALUES FROM (1) TO (%2$s)', parent, next_id);
    END LOOP;
END $$;

ALTER TABLE signals ADD PRIMARY KEY (id);
CREATE INDEX signals_by_source ON signals (source, source_id, id) WHERE source_id IS NOT NULL;
CREATE INDEX signals_scheduled ON signals (due_at) WHERE state = 'scheduled';
CREATE INDEX signals_from_endpoints ON signals (id) INCLUDE (name, created_at) WHERE source = 'signal-endpoint';
CREATE INDEX signals_by_position ON signals (position);
CREATE INDEX signals_by_moment ON signals (recorded_at);
CREATE INDEX signals_by_name ON signals (name, position);
CREATE INDEX signals_by_tenant ON signals (tenant_id, position) WHERE tenant_id IS NOT NULL;
CREATE INDEX signals_by_execution ON signals (execution_id, position) WHERE execution_id IS NOT NULL;
CREATE INDEX signals_for_later ON signals (deliver_at) WHERE deliver_at IS NOT NULL;
CREATE INDEX subscriptions_by_consumer ON subscriptions (consumed_by) WHERE consumed_by IS NOT NULL;
ALTER TABLE matches ADD PRIMARY KEY (signal_id);
ALTER TABLE deliveries ADD PRIMARY KEY (signal_id, subscription_id);
CREATE INDEX deliveries_due ON deliveries (state, due_at) WHERE state IN ('pending', 'parked');
CREATE INDEX deliveries_by_subscription ON deliveries (subscription_id, signal_id);
CREATE INDEX deliveries_dead ON deliveries (signal_id, subscription_id) WHERE state = 'dead';
CREATE INDEX deliveries_parked ON deliveries (subscription_id, signal_id) WHERE state = 'parked';
CREATE INDEX deliveries_held ON deliveries (subscription_id, reason, signal_id) WHERE state = 'parked' AND due_at IS NULL;
ALTER TABLE attempts ADD PRIMARY KEY (signal_id, subscription_id, number);

CREATE TRIGGER count_inserted AFTER INSERT ON matches
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();
CREATE TRIGGER count_updated AFTER UPDATE ON matches
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();
CREATE TRIGGER count_deleted AFTER DELETE ON matches
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();
CREATE TRIGGER count_inserted AFTER INSERT ON deliveries
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();
CREATE TRIGGER count_updated AFTER UPDATE ON deliveries
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();
CREATE TRIGGER count_deleted AFTER DELETE ON deliveries
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();
