-- Permissions that the receivers of webhooks gave by a callback ----------------------------------------------------------

CREATE TABLE webhook_permissions (
    subscription_id bigint NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
    receiver text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscription_id, receiver)
);
COMMENT ON COLUMN webhook_permissions.receiver IS 'SHA-256 of the origin that asked, a space and the URL, in hexadecimal.';
