-- Events: what operators are to know of, noted in the transaction in which it happens -----------------------------------

CREATE TABLE event_notes (
    type text COLLATE "C" NOT NULL,
    subscription_id bigint NOT NULL DEFAULT 0,
    subject text COLLATE "C" NOT NULL DEFAULT '',
    tenants text[],
    at timestamptz NOT NULL DEFAULT now(),
    n bigint NOT NULL DEFAULT 1,
    details json NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE event_notes IS 'What happened and is not combined to events yet.';
COMMENT ON COLUMN event_notes.subscription_id IS '0: it is about none.';
COMMENT ON COLUMN event_notes.subject IS 'What else it is about, so that only what is alike is combined: a webhook (its MD5), a quota, a queue.';
COMMENT ON COLUMN event_notes.tenants IS 'Whose it is, if it is about no subscription.';
COMMENT ON COLUMN event_notes.n IS 'How many times it happened.';

CREATE TABLE event_windows (
    subscription_id bigint NOT NULL,
    subject text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    tenants text[],
    n bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    details json NOT NULL,
    told_at timestamptz,
    PRIMARY KEY (subscription_id, subject, type)
) WITH (fillfactor = 70);
COMMENT ON TABLE event_windows IS 'What happened since the last event of that kind, which was a minute ago or less.';

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type text COLLATE "C" NOT NULL,
    subscription_id bigint NOT NULL,
    subscription_name text,
    tenant_id text,
    tenants text[],
    since timestamptz NOT NULL,
    at timestamptz NOT NULL,
    n bigint NOT NULL,
    details json NOT NULL,
    signal_id bigint,
    signal_at timestamptz,
    is_settled boolean NOT NULL DEFAULT false
);
CREATE INDEX events_of_subscription ON events (subscription_id, id);
CREATE INDEX events_unsettled ON events (id) WHERE NOT is_settled;
COMMENT ON COLUMN events.tenants IS 'The tenants that it belongs to; null: to none.';
COMMENT ON COLUMN events.since IS 'When it happened first, of the n times that are combined.';
COMMENT ON COLUMN events.signal_id IS 'The signal that tells it, if any subscription was for such events.';
COMMENT ON COLUMN events.is_settled IS 'Whether its signal is in the record queue, or none is needed.';

CREATE TABLE dead_queues (
    queue text COLLATE "C" PRIMARY KEY,
    n bigint NOT NULL DEFAULT 0,
    lower_since timestamptz
);
COMMENT ON TABLE dead_queues IS 'How many messages dead queues hold, as events have told it.';
COMMENT ON COLUMN dead_queues.lower_since IS 'Since when one seems to hold fewer: for a moment it does whenever it is looked into.';

CREATE FUNCTION note_event(type text, subscription_id bigint, subject text, details json) RETURNS void LANGUAGE sql AS $$
    INSERT INTO event_notes (type, subscription_id, subject, details)
    SELECT $1, s.id, $3, $4 FROM subscriptions s WHERE s.id = $2 AND s.until IS NULL AND s.name NOT LIKE '$broker.%'
$$;
COMMENT ON FUNCTION note_event IS 'Note an event of a subscription, unless it is deleted or is for events itself: none may lead to another.';

CREATE FUNCTION note_circuit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    subject text := md5(OLD.address);
    details json := json_build_object('host', host_of('webhook', OLD.address));
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.failures = 0 AND NEW.failures > 0 THEN
            PERFORM note_event('$broker.target.failed', OLD.subscription_id, subject, details);
        ELSIF OLD.failures > 0 AND NEW.failures = 0 THEN
            PERFORM note_event('$broker.target.recovered', OLD.subscription_id, subject, details);
        END IF;
        IF OLD.retry_at IS NULL AND NEW.retry_at IS NOT NULL THEN
            PERFORM note_event('$broker.circuit.opened', OLD.subscription_id, subject, details);
        END IF;
    END IF;
    IF OLD.retry_at IS NOT NULL AND (TG_OP = 'DELETE' OR NEW.retry_at IS NULL) THEN
        PERFORM note_event('$broker.circuit.closed', OLD.subscription_id, subject, details);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_changed AFTER UPDATE ON circuits FOR EACH ROW
    WHEN ((OLD.failures = 0) <> (NEW.failures = 0) OR (OLD.retry_at IS NULL) <> (NEW.retry_at IS NULL))
    EXECUTE FUNCTION note_circuit();
CREATE TRIGGER note_dropped AFTER DELETE ON circuits FOR EACH ROW WHEN (OLD.retry_at IS NOT NULL) EXECUTE FUNCTION note_circuit();

CREATE FUNCTION note_disabled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_event('$broker.subscription.disabled', NEW.id, '', json_build_object('reason', NEW.disabled_because));
    RETURN NULL;
END $$;
CREATE TRIGGER note_disabled AFTER UPDATE OF disabled_because ON subscriptions FOR EACH ROW
    WHEN (OLD.disabled_because IS NULL AND NEW.disabled_because IS NOT NULL) EXECUTE FUNCTION note_disabled();
