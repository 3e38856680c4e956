-- Users ---------------------------------------------------------------------------------------------------------

CREATE TABLE users (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CONSTRAINT users_name UNIQUE,
    password    text NOT NULL CHECK (password LIKE '$argon2id$%'),
    permissions text[] NOT NULL,
    names       text[],
    tenants     text[],
    groups      text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  text NOT NULL
);

CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();
