-- Fairness of what is due ------------------------------------------------------------------------------------------

CREATE INDEX deliveries_due_by_subscription ON deliveries (subscription_id, due_at)
    WHERE state = 'parked' AND due_at IS NOT NULL;

-- Quotas -------------------------------------------------------------------------------------------------------------

CREATE TABLE quotas (
    kind text NOT NULL CHECK (kind IN ('tenant', 'token')),
    subject text NOT NULL,
    throws_per_second double precision,
    subscriptions integer,
    deliveries_per_throw integer,
    payload_bytes_per_day bigint,
    PRIMARY KEY (kind, subject)
);
COMMENT ON TABLE quotas IS 'How much a tenant or an API token may use; null: as much as it likes.';
COMMENT ON COLUMN quotas.subject IS 'The tenant, or the token''s number.';
COMMENT ON COLUMN quotas.subscriptions IS 'How many subscriptions there may be, of the tenant or made by the token.';
COMMENT ON COLUMN quotas.deliveries_per_throw IS 'How many subscriptions a signal may be for, by name and scope.';
COMMENT ON COLUMN quotas.payload_bytes_per_day IS 'How many bytes the payloads of a day (UTC) may have together.';

CREATE FUNCTION tell_quotas_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('quotas_changed', '');
    RETURN NULL;
END $$;
CREATE TRIGGER quotas_changed AFTER INSERT OR UPDATE OR DELETE ON quotas
    FOR EACH STATEMENT EXECUTE FUNCTION tell_quotas_changed();

CREATE TABLE quota_days (
    kind text NOT NULL,
    subject text NOT NULL,
    day date NOT NULL,
    payload_bytes bigint NOT NULL,
    PRIMARY KEY (kind, subject, day)
) WITH (fillfactor = 50);
COMMENT ON TABLE quota_days IS 'The payloads that were accepted on a day (UTC) of those with a quota, as gateways report them every second.';

CREATE TABLE quota_demands (
    gateway uuid NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    throws_per_second double precision NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (gateway, kind, subject)
) WITH (fillfactor = 50);
COMMENT ON TABLE quota_demands IS 'How many throws a second those with a quota tried lately at each gateway; gateways share the quota in proportion.';

ALTER TABLE subscriptions ADD COLUMN created_by_token bigint;
COMMENT ON COLUMN subscriptions.created_by_token IS 'The API token that made it, for its quota.';
CREATE INDEX subscriptions_by_tenant ON subscriptions (tenant_id) WHERE tenant_id IS NOT NULL AND until IS NULL;
CREATE INDEX subscriptions_by_token ON subscriptions (created_by_token)
    WHERE created_by_token IS NOT NULL AND until IS NULL;
