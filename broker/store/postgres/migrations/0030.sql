-- Signals that many subscriptions match are recorded in chunks ---------------------------------------------------------

CREATE TABLE wide_recordings (
    signal_id bigint PRIMARY KEY,
    everything boolean NOT NULL,
    after_id bigint NOT NULL DEFAULT 0,
    finished boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
COMMENT ON TABLE wide_recordings IS 'Signals that are recorded in chunks, because many subscriptions match. '
    'The row of one that is recorded stays as long as the signal.';
COMMENT ON COLUMN wide_recordings.everything IS 'Whether the chunks go through all subscriptions, and not only through those of the name '
    'and of patterns that are found by no filter.';
COMMENT ON COLUMN wide_recordings.after_id IS 'The chunks up to this subscription are recorded.';
COMMENT ON COLUMN wide_recordings.finished IS 'Whether there are no more chunks.';
CREATE INDEX wide_recordings_unfinished ON wide_recordings (signal_id) WHERE NOT finished;

CREATE TABLE match_chunks (
    signal_id bigint NOT NULL,
    first_id bigint NOT NULL,
    subscription_ids bigint[] NOT NULL,
    PRIMARY KEY (signal_id, first_id)
);
COMMENT ON TABLE match_chunks IS 'What `matches` has, for signals that are recorded in chunks: a row for each chunk, whose first subscription '
    'is `first_id`.';

CREATE FUNCTION count_match_chunks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT id, 'matched', count(*) FROM new_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT id, 'matched', -count(*) FROM old_rows, unnest(subscription_ids) AS id GROUP BY id;
    END CASE;
    RETURN NULL;
END $$;
CREATE TRIGGER count_inserted AFTER INSERT ON match_chunks
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_match_chunks();
CREATE TRIGGER count_deleted AFTER DELETE ON match_chunks
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_match_chunks();

CREATE FUNCTION is_reached(tenant_id text, execution_id text, owner_tenants text[], owner_untenanted boolean,
                           scope text, of_tenant text, of_execution text, audience text[]) RETURNS boolean
LANGUAGE sql STABLE
RETURN CASE scope
        WHEN 'execution' THEN execution_id = of_execution
        WHEN 'tenant' THEN tenant_id = of_tenant
        WHEN 'untenanted' THEN tenant_id IS NULL
        ELSE true
    END
    AND (audience IS NULL OR tenant_id IS NULL OR tenant_id = ANY (audience))
    AND (tenant_id IS NOT NULL OR is_readable(scope, of_tenant, to_json(audience), owner_tenants, owner_untenanted));
COMMENT ON FUNCTION is_reached IS 'Whether a signal of a scope is for a subscription, whatever its name and its filter are. '
    'See `broker.subscriptions.Subscription.unfit`.';

CREATE INDEX subscriptions_of_name_in_order ON subscriptions (name, id) WHERE filter_path = '' AND consumed_by IS NULL;
CREATE INDEX subscriptions_of_pattern_in_order ON subscriptions (pattern_key(name), id)
    WHERE pattern_key(name) IS NOT NULL AND filter_path = '' AND consumed_by IS NULL;
