-- Subscriptions are found by what messages name.
CREATE INDEX CONCURRENTLY subscriptions_of_business_key ON subscriptions (name, business_key)
    WHERE business_key IS NOT NULL AND until IS NULL AND consumed_by IS NULL;
CREATE INDEX CONCURRENTLY subscriptions_of_correlation_keys ON subscriptions USING gin (correlation_keys jsonb_path_ops)
    WITH (fastupdate = off)
    WHERE correlation_keys IS NOT NULL AND until IS NULL AND consumed_by IS NULL;
CREATE INDEX CONCURRENTLY subscriptions_outside_executions ON subscriptions (name, id)
    WHERE execution_id IS NULL AND until IS NULL AND consumed_by IS NULL;
