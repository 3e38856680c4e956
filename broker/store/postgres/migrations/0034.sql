-- Sessions: people who signed in with a browser are known by a cookie.

CREATE TABLE sessions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    principal text NOT NULL,
    credential bytea NOT NULL,
    user_id bigint REFERENCES users ON DELETE CASCADE,
    claims json,
    created_at timestamptz NOT NULL DEFAULT now(),
    ends_at timestamptz NOT NULL
);
CREATE INDEX sessions_of_principal ON sessions (principal, id);
CREATE INDEX sessions_of_user ON sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_end ON sessions (ends_at);
COMMENT ON TABLE sessions IS 'Sessions of browsers. What a session may do is what its credential may do at that moment.';
COMMENT ON COLUMN sessions.digest IS 'The SHA-256 of the cookie.';
COMMENT ON COLUMN sessions.principal IS 'The key of the principal that signed in.';
COMMENT ON COLUMN sessions.credential IS 'The SHA-256 of the token, or of the stored hash of the password, that it signed in with.';
COMMENT ON COLUMN sessions.user_id IS 'The user, if one signed in with a password.';
COMMENT ON COLUMN sessions.claims IS 'The principal of a token of an issuer, which is not in the store; else null.';
COMMENT ON COLUMN sessions.ends_at IS 'From when on it opens nothing. It is kept for another hour, in which it counts.';
