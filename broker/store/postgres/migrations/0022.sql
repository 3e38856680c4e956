-- A circuit belongs to the subscription that delivers to the target ---------------------------------------------------

-- Deliverers of earlier versions know only rows without a subscription; for this version those mean nothing.
ALTER TABLE circuits ADD COLUMN subscription_id bigint;
COMMENT ON TABLE circuits IS
    'Webhooks of subscriptions that seem to be down: a row appears with the first failure and goes with the next success.';
COMMENT ON COLUMN circuits.subscription_id IS 'The subscription that delivers there; null: all of them, for processes of earlier versions.';
COMMENT ON COLUMN circuits.address IS 'The webhook''s URL without what may be a credential.';
CREATE INDEX circuits_by_subscription ON circuits (subscription_id) WHERE subscription_id IS NOT NULL;

CREATE FUNCTION circuit_key(subscription_id bigint, address text) RETURNS bytea LANGUAGE sql STABLE
RETURN sha256(convert_to(subscription_id || ' ' || address, 'UTF8'));

-- What is left alone, or asked for it, stays so for each subscription that delivers there.
INSERT INTO circuits (key, subscription_id, address, failures, openings, retry_at, probing_until, spared_until, changed_at)
SELECT circuit_key(s.id, k.address), s.id, k.address, k.failures, k.openings, k.retry_at, k.probing_until, k.spared_until, k.changed_at
FROM circuits k JOIN (
    SELECT id, address FROM subscriptions WHERE kind = 'webhook' AND until IS NULL
    UNION
    SELECT id, step ->> 'address' FROM subscriptions, json_array_elements(steps) AS step
    WHERE step ->> 'kind' = 'webhook' AND until IS NULL
) AS s USING (address)
WHERE k.subscription_id IS NULL
ON CONFLICT (key) DO NOTHING;

-- An attempt may not be shorter than a receiver at its best ------------------------------------------------------------

UPDATE subscriptions SET timeout = 0.1 WHERE timeout < 0.1 AND kind <> 'handler';

-- Signals that cause each other come to an end ------------------------------------------------------------------------

ALTER TABLE signals ADD COLUMN hops integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN signals.hops IS 'How many deliveries led to it, one after the other, as far as its callers told.';

-- Credentials of targets are sealed at rest ---------------------------------------------------------------------------

ALTER TABLE subscriptions ADD COLUMN sealed text;
COMMENT ON COLUMN subscriptions.sealed IS
    'The URL and the headers, sealed, if they hold credentials; address and headers have *** in their place. Steps have their own.';

-- Processes of earlier versions cannot read sealed targets, so a store that they may use seals none until it is told so.
CREATE TABLE sealing (
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sealing IS 'Has a row if credentials of targets are sealed: since the store is there, or since `signal-broker reseal`.';
INSERT INTO sealing SELECT now() FROM signal_ids WHERE NOT is_called;
