-- The ledger's counters -----------------------------------------------------------------------------------------

CREATE TABLE ledger_deltas (
    subscription_id bigint NOT NULL,
    counted         text NOT NULL,
    n               bigint NOT NULL
) WITH (
    -- Every row dies young; see transport.messages.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE ledger_deltas IS
    'What statements changed in the counts, written with the changes. Appended to only, so that nobody waits for anybody; the scheduler folds them into ledger_tallies.';
COMMENT ON COLUMN ledger_deltas.counted IS
    'recorded: signals (of subscription 0); matched: deliveries owed; or a state: deliveries in it.';

CREATE TABLE ledger_tallies (
    subscription_id bigint NOT NULL,
    counted         text NOT NULL,
    n               bigint NOT NULL,
    PRIMARY KEY (subscription_id, counted)
) WITH (fillfactor = 50);
COMMENT ON TABLE ledger_tallies IS 'The counts without ledger_deltas. Subscription 0 stands for all of them.';

INSERT INTO ledger_tallies (subscription_id, counted, n)
SELECT subscription_id, counted, count(*)
FROM (
    SELECT CASE WHEN total THEN 0 ELSE subscription_id END AS subscription_id, counted
    FROM (
        SELECT subscription_id, state AS counted FROM deliveries
        UNION ALL
        SELECT unnest(subscription_ids), 'matched' FROM matches
    ) AS rows, (VALUES (true), (false)) AS twice (total)
    UNION ALL
    SELECT 0, 'recorded' FROM signals
) AS counts
GROUP BY subscription_id, counted;

-- Signals that matched nobody have a row, too, from now on: it says that they are recorded.
INSERT INTO matches (signal_id, subscription_ids) SELECT id, '{}' FROM signals ON CONFLICT DO NOTHING;
COMMENT ON TABLE matches IS
    'What was owed when a signal was recorded, for every one of them. Written beside the deliveries and not from them, so that the ledger can fail.';

CREATE FUNCTION count_matches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO ledger_deltas (subscription_id, counted, n)
        SELECT 0, 'recorded', -count(*) FROM old_rows HAVING count(*) > 0
        UNION ALL
        SELECT id, 'matched', -count(*) FROM old_rows, unnest(subscription_ids) AS id GROUP BY id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO ledger_deltas (subscription_id, counted, n)
        SELECT 0, 'recorded', count(*) FROM new_rows HAVING count(*) > 0
        UNION ALL
        SELECT id, 'matched', count(*) FROM new_rows, unnest(subscription_ids) AS id GROUP BY id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_inserted AFTER INSERT ON matches
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();
CREATE TRIGGER count_updated AFTER UPDATE ON matches
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();
CREATE TRIGGER count_deleted AFTER DELETE ON matches
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();

-- Most updates of deliveries leave their states alone, and so write nothing here.
CREATE FUNCTION count_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT subscription_id, state, count(*) FROM new_rows GROUP BY subscription_id, state;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT subscription_id, state, -count(*) FROM old_rows GROUP BY subscription_id, state;
        WHEN 'UPDATE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT subscription_id, state, sum(n)
            FROM (
                SELECT subscription_id, state, 1 AS n FROM new_rows
                UNION ALL
                SELECT subscription_id, state, -1 FROM old_rows
            ) AS rows
            GROUP BY subscription_id, state HAVING sum(n) <> 0;
    END CASE;
    RETURN NULL;
END $$;
CREATE TRIGGER count_inserted AFTER INSERT ON deliveries
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();
CREATE TRIGGER count_updated AFTER UPDATE ON deliveries
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();
CREATE TRIGGER count_deleted AFTER DELETE ON deliveries
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();

-- The order of recording ----------------------------------------------------------------------------------------

CREATE SEQUENCE signal_positions AS bigint CACHE 1;
COMMENT ON SEQUENCE signal_positions IS 'The order in which signals became visible; see the statement insert_signals.';

ALTER TABLE signals ADD COLUMN position bigint;
UPDATE signals SET position = id;
SELECT setval('signal_positions', max(id)) FROM signals HAVING max(id) > 0;
ALTER TABLE signals ALTER COLUMN position SET NOT NULL;
COMMENT ON COLUMN signals.position IS 'Its place in the order of recording: lists go by it, so that who reads on never misses one.';
COMMENT ON COLUMN signals.recorded_at IS 'Ascends with the position.';

CREATE INDEX signals_by_position ON signals (position);
CREATE INDEX signals_by_moment ON signals (recorded_at);
DROP INDEX signals_by_name;
CREATE INDEX signals_by_name ON signals (name, position);
CREATE INDEX signals_by_tenant ON signals (tenant_id, position) WHERE tenant_id IS NOT NULL;
CREATE INDEX signals_by_execution ON signals (execution_id, position) WHERE execution_id IS NOT NULL;
