-- Messages of Camunda 8 that nothing waits for, until something does ------------------------------------------------------

CREATE TABLE buffered_messages (
    id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    tenant text NOT NULL,
    payload text NOT NULL,
    types text NOT NULL,
    source text NOT NULL,
    token_id bigint,
    business_key text NOT NULL,
    traceparent text,
    tracestate text,
    hops integer NOT NULL,
    bytes integer NOT NULL
);
COMMENT ON TABLE buffered_messages IS 'Accepted messages that no subscription waits for so far. They become signals once one does, or once their time to live is over.';
COMMENT ON COLUMN buffered_messages.id IS 'The number of the message, and the id of the signal that it becomes.';
COMMENT ON COLUMN buffered_messages.until IS 'When its time to live is over.';
COMMENT ON COLUMN buffered_messages.tenant IS 'The tenant that it is for; empty: those without one.';
COMMENT ON COLUMN buffered_messages.business_key IS 'What it names; empty: nothing.';
COMMENT ON COLUMN buffered_messages.bytes IS 'The size of the payload.';
CREATE INDEX buffered_messages_of_name ON buffered_messages (name, id);
CREATE INDEX buffered_messages_of_tenant ON buffered_messages (tenant) INCLUDE (bytes);
CREATE INDEX buffered_messages_by_end ON buffered_messages (until, id);

CREATE TABLE message_ids (
    digest bytea PRIMARY KEY,
    signal_id bigint NOT NULL,
    until timestamptz NOT NULL
);
COMMENT ON TABLE message_ids IS 'The ids that messages were published with, until their time to live is over.';
COMMENT ON COLUMN message_ids.digest IS 'The SHA-256 of the id, the name, the correlation key and the tenant.';
COMMENT ON COLUMN message_ids.signal_id IS 'The number of the message.';
CREATE INDEX message_ids_by_end ON message_ids (until);

-- Either commit is followed by a look at what is buffered under the name, whichever of the two comes later.
CREATE FUNCTION tell_correlatable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('correlatable', NEW.name);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tell_correlatable IS 'Tells schedulers that a buffered message of this name may have a receiver now.';
CREATE TRIGGER tell_buffered AFTER INSERT ON buffered_messages FOR EACH ROW EXECUTE FUNCTION tell_correlatable();
CREATE TRIGGER tell_created AFTER INSERT ON subscriptions FOR EACH ROW
    WHEN (NOT NEW.is_pattern) EXECUTE FUNCTION tell_correlatable();
CREATE TRIGGER tell_receiving AFTER UPDATE OF name, filter, disabled_because, consumed_by ON subscriptions FOR EACH ROW
    WHEN (
        NOT NEW.is_pattern AND NEW.until IS NULL AND NEW.consumed_by IS NULL AND NEW.disabled_because IS NULL
        AND (
            OLD.consumed_by IS NOT NULL OR OLD.disabled_because IS NOT NULL OR OLD.name <> NEW.name
            OR OLD.filter::text IS DISTINCT FROM NEW.filter::text
        )
    ) EXECUTE FUNCTION tell_correlatable();
