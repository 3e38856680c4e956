-- What waits for a circuit waits for an event, and not until a moment ---------------------------------------------------

ALTER TABLE circuits ADD COLUMN awaited boolean NOT NULL DEFAULT false, ADD COLUMN trial_at timestamptz;
COMMENT ON COLUMN circuits.awaited IS 'Whether deliveries may be waiting for it.';
COMMENT ON COLUMN circuits.trial_at IS 'When a delivery was last let go to try the target.';
CREATE INDEX circuits_awaited ON circuits (retry_at NULLS FIRST) WHERE awaited;

-- A replay adds one match to a signal, and not all others once more -------------------------------------------------------

CREATE OR REPLACE FUNCTION count_matches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT 0, 'recorded', count(*) FROM new_rows HAVING count(*) > 0
            UNION ALL
            SELECT id, 'matched', count(*) FROM new_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT 0, 'recorded', -count(*) FROM old_rows HAVING count(*) > 0
            UNION ALL
            SELECT id, 'matched', -count(*) FROM old_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'UPDATE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT id, 'matched', sum(by)
            FROM (
                SELECT n.subscription_ids AS after, o.subscription_ids AS before,
                       n.subscription_ids[1:cardinality(o.subscription_ids)] = o.subscription_ids AS begins_alike
                FROM new_rows n JOIN old_rows o USING (signal_id) OFFSET 0
            ) AS changed
            CROSS JOIN LATERAL (
                SELECT unnest(CASE WHEN begins_alike THEN after[cardinality(before) + 1:] ELSE after END) AS id, 1 AS by
                UNION ALL
                SELECT unnest(CASE WHEN begins_alike THEN '{}' ELSE before END), -1
            ) AS matched
            GROUP BY id HAVING sum(by) <> 0;
    END CASE;
    RETURN NULL;
END $$;

-- Lists find what is rare ------------------------------------------------------------------------------------------------

CREATE INDEX deliveries_parked_in_order ON deliveries (signal_id, subscription_id) WHERE state = 'parked';
CREATE INDEX deliveries_cancelled ON deliveries (signal_id, subscription_id) WHERE state = 'cancelled';

CREATE INDEX signals_of_source ON signals (source_id, position) WHERE source_id IS NOT NULL;
CREATE INDEX signals_by_state ON signals (state, position) WHERE state <> 'recorded';
CREATE INDEX signals_by_business_key ON signals (business_key, position) WHERE business_key IS NOT NULL;
CREATE INDEX signals_by_ordering_key ON signals (ordering_key, position) WHERE ordering_key IS NOT NULL;

CREATE FUNCTION host_of(kind text, address text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN kind = 'webhook' THEN
    lower(substring(address from '^[A-Za-z]+://(?:[^/?#@]*@)?(\[[^]]*\]|[^/:?#]+)')) END;
COMMENT ON FUNCTION host_of IS 'The host of a webhook''s URL, without its port; null for another target.';

CREATE INDEX subscriptions_listed_by_name ON subscriptions (name, id) WHERE until IS NULL;
CREATE INDEX subscriptions_listed_by_tenant ON subscriptions (tenant_id, id) WHERE tenant_id IS NOT NULL;
CREATE INDEX subscriptions_listed_by_execution ON subscriptions (execution_id, id)
    WHERE execution_id IS NOT NULL AND until IS NULL;
CREATE INDEX subscriptions_listed_by_host ON subscriptions (host_of(kind, address), id) WHERE kind = 'webhook';
CREATE INDEX subscriptions_waiting_by_moment ON subscriptions (created_at, id) WHERE until IS NULL AND consumed_by IS NULL;
CREATE INDEX subscriptions_waiting_by_tenant ON subscriptions (tenant_id, id) WHERE until IS NULL AND consumed_by IS NULL;
CREATE INDEX subscriptions_halted ON subscriptions (id)
    WHERE until IS NULL AND (paused_at IS NOT NULL OR disabled_because IS NOT NULL);

-- Those above and those of step 0023 serve every statement that these served.
DROP INDEX subscriptions_by_name, subscriptions_by_execution, subscriptions_by_tenant, subscriptions_with_pattern;
