-- Tokens that expire, are rotated, and show when they were used -------------------------------------------------------

ALTER TABLE tokens ADD COLUMN expires_at timestamptz;
ALTER TABLE endpoint_tokens ADD COLUMN expires_at timestamptz;
COMMENT ON COLUMN tokens.expires_at IS 'From when on it opens nothing; null: never.';
COMMENT ON COLUMN endpoint_tokens.expires_at IS 'From when on it opens nothing; null: never.';

CREATE TABLE former_digests (
    digest            bytea PRIMARY KEY,
    token_id          bigint REFERENCES tokens ON DELETE CASCADE,
    endpoint_token_id bigint REFERENCES endpoint_tokens ON DELETE CASCADE,
    valid_until       timestamptz NOT NULL,
    CHECK (num_nonnulls(token_id, endpoint_token_id) = 1)
);
CREATE INDEX former_digests_of_token ON former_digests (token_id);
CREATE INDEX former_digests_of_endpoint_token ON former_digests (endpoint_token_id);
COMMENT ON TABLE former_digests IS 'Digests of values that a rotation replaced, and that are still good for a while.';

CREATE TABLE token_uses (token_id bigint PRIMARY KEY REFERENCES tokens ON DELETE CASCADE, used_at timestamptz NOT NULL)
    WITH (fillfactor = 50);
CREATE TABLE endpoint_token_uses (
    token_id bigint PRIMARY KEY REFERENCES endpoint_tokens ON DELETE CASCADE, used_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE token_uses IS 'When a token was last used, as gateways report it every minute. Not in `tokens`, whose changes empty every cache.';
COMMENT ON TABLE endpoint_token_uses IS 'The same for tokens of signal endpoints.';

-- A number that changes with access -----------------------------------------------------------------------------------

CREATE TABLE access_changes (id integer PRIMARY KEY DEFAULT 1 CHECK (id = 1), number bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO access_changes (number) VALUES (0);
COMMENT ON TABLE access_changes IS 'How often access was changed. Gateways that hear no notification see it from that.';

CREATE OR REPLACE FUNCTION tell_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE access_changes SET number = number + 1;
    PERFORM pg_notify('access_changed', '');
    RETURN NULL;
END $$;
CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON former_digests
    FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();
