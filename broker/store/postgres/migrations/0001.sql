-- Ids and times -------------------------------------------------------------------------------------------------

CREATE SEQUENCE signal_ids AS bigint CACHE 1;
COMMENT ON SEQUENCE signal_ids IS
    'One ascending sequence for signals and for the creation and deletion of subscriptions, so that before and after can be told.';

-- Signals -------------------------------------------------------------------------------------------------------

CREATE TABLE signals (
    id           bigint PRIMARY KEY,
    created_at   timestamptz NOT NULL,
    name         text NOT NULL,
    scope        text NOT NULL,
    tenant_id    text,
    execution_id text,
    reach        json,
    payload      text NOT NULL,
    types        text NOT NULL,
    source       text NOT NULL,
    source_id    bigint,
    token_id     bigint,
    business_key text,
    traceparent  text,
    recorded_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN signals.payload IS 'JSON text as it was sent; text, because json and jsonb would refuse or rewrite some of it.';
COMMENT ON COLUMN signals.types IS 'Typed form of the variables that the payload alone does not tell (JSON text).';
COMMENT ON COLUMN signals.reach IS 'Tenants that a broadcast was limited to; null: everybody.';
CREATE INDEX signals_by_name ON signals (name, id);
CREATE INDEX signals_by_source ON signals (source, source_id, id) WHERE source_id IS NOT NULL;

CREATE TABLE matches (
    signal_id        bigint PRIMARY KEY,
    subscription_ids bigint[] NOT NULL
);
COMMENT ON TABLE matches IS
    'What was owed when a signal was recorded. Written once, beside the deliveries and not from them, so that the ledger can fail.';

CREATE TABLE idempotency_keys (
    principal  text NOT NULL,
    key        text NOT NULL,
    body_hash  bytea NOT NULL,
    signal_id  bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Subscriptions and deliveries ----------------------------------------------------------------------------------

CREATE TABLE subscriptions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    is_pattern   boolean NOT NULL,
    tenant_id    text,
    execution_id text,
    once         boolean NOT NULL,
    kind         text NOT NULL,
    address      text NOT NULL,
    headers      json NOT NULL,
    secret       bytea,
    schedule     double precision[] NOT NULL,
    timeout      double precision,
    description  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    since        bigint NOT NULL,
    until        bigint,
    consumed_by  bigint
);
COMMENT ON COLUMN subscriptions.since IS 'Its number in signal_ids: it gets later signals only.';
COMMENT ON COLUMN subscriptions.until IS 'The number of its deletion: it gets earlier signals only.';
CREATE INDEX subscriptions_by_name ON subscriptions (name) WHERE consumed_by IS NULL;
CREATE INDEX subscriptions_with_pattern ON subscriptions (id) WHERE is_pattern AND consumed_by IS NULL;
CREATE INDEX subscriptions_by_execution ON subscriptions (execution_id)
    WHERE execution_id IS NOT NULL AND consumed_by IS NULL AND until IS NULL;

CREATE TABLE deliveries (
    signal_id       bigint NOT NULL,
    subscription_id bigint NOT NULL,
    state           text NOT NULL CHECK (state IN ('pending', 'parked', 'delivered', 'dead', 'cancelled')),
    attempts        integer NOT NULL DEFAULT 0,
    due_at          timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    PRIMARY KEY (signal_id, subscription_id)
) WITH (fillfactor = 80);
COMMENT ON COLUMN deliveries.attempts IS 'Attempts begun; the fence against messages that are out of date.';
COMMENT ON COLUMN deliveries.due_at IS
    'parked: when the next attempt is due; pending: when to ask whether its message was lost.';
CREATE INDEX deliveries_due ON deliveries (state, due_at) WHERE state IN ('pending', 'parked');
CREATE INDEX deliveries_by_subscription ON deliveries (subscription_id, signal_id);
CREATE INDEX deliveries_dead ON deliveries (signal_id, subscription_id) WHERE state = 'dead';

CREATE TABLE attempts (
    signal_id       bigint NOT NULL,
    subscription_id bigint NOT NULL,
    number          integer NOT NULL,
    started_at      timestamptz NOT NULL,
    duration        double precision NOT NULL,
    outcome         text NOT NULL,
    status          integer,
    error           text,
    excerpt         text,
    PRIMARY KEY (signal_id, subscription_id, number)
);

-- Access --------------------------------------------------------------------------------------------------------

CREATE TABLE tokens (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    digest      bytea NOT NULL UNIQUE,
    permissions text[] NOT NULL,
    names       text[],
    tenants     text[],
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  text NOT NULL,
    revoked_at  timestamptz
);

CREATE TABLE endpoints (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CONSTRAINT endpoints_name UNIQUE,
    enabled     boolean NOT NULL DEFAULT true,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  text NOT NULL
);

CREATE TABLE endpoint_tokens (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id bigint NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    name        text NOT NULL,
    digest      bytea NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  text NOT NULL,
    CONSTRAINT endpoint_tokens_name UNIQUE (endpoint_id, name)
);

CREATE FUNCTION tell_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('access_changed', '');
    RETURN NULL;
END $$;
CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON tokens
    FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();
CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();
CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON endpoint_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();
