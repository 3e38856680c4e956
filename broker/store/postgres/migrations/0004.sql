-- Filters, actions, and what the delivery engine keeps ----------------------------------------------------------

ALTER TABLE subscriptions
    ADD COLUMN filter                json,
    ADD COLUMN method                text NOT NULL DEFAULT 'POST' CHECK (method IN ('POST', 'PUT', 'PATCH', 'DELETE')),
    ADD COLUMN body_template         text,
    ADD COLUMN steps                 json,
    ADD COLUMN max_in_flight         integer,
    ADD COLUMN max_per_second        double precision,
    ADD COLUMN paused_at             timestamptz,
    ADD COLUMN disabled_because      text,
    ADD COLUMN previous_secret       bytea,
    ADD COLUMN previous_secret_until timestamptz,
    ADD COLUMN signatures            text[] NOT NULL DEFAULT '{v1}' CHECK (signatures <@ '{v1,v1a}' AND signatures <> '{}');
COMMENT ON COLUMN subscriptions.previous_secret IS 'Signs beside the secret until previous_secret_until.';
COMMENT ON COLUMN subscriptions.steps IS 'Several targets, to be delivered to in order, instead of one.';
COMMENT ON COLUMN subscriptions.disabled_because IS 'Why it gets nothing any more, until it is resumed: its target answered 410, say.';

ALTER TABLE signals
    ADD COLUMN state        text NOT NULL DEFAULT 'recorded' CHECK (state IN ('recorded', 'scheduled', 'cancelled')),
    ADD COLUMN deliver_at   timestamptz,
    ADD COLUMN expires_at   timestamptz,
    ADD COLUMN ordering_key text,
    ADD COLUMN due_at       timestamptz;
COMMENT ON COLUMN signals.state IS 'scheduled: its deliveries are parked until deliver_at, and no tap has it yet.';
COMMENT ON COLUMN signals.due_at IS
    'scheduled: deliver_at, or, once it was taken to be published to the taps, when to ask whether that was done.';
CREATE INDEX signals_scheduled ON signals (due_at) WHERE state = 'scheduled';

ALTER TABLE deliveries
    ADD COLUMN reason       text,
    ADD COLUMN redriven     integer NOT NULL DEFAULT 0,
    ADD COLUMN steps_done   integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN deliveries.due_at IS
    'parked: when the next attempt is due, null while it is held (see reason); pending: when to ask whether its message was lost.';
COMMENT ON COLUMN deliveries.reason IS 'Why it is parked, dead or cancelled.';
COMMENT ON COLUMN deliveries.redriven IS 'Attempts made before it was last redriven: the schedule starts over after them.';
COMMENT ON COLUMN deliveries.steps_done IS 'How many steps succeeded already; the next attempt goes on after them.';

ALTER TABLE attempts ADD COLUMN steps json;
COMMENT ON COLUMN attempts.steps IS 'How each step ended that this attempt made.';

CREATE TABLE webhook_keys (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_key  text NOT NULL,
    private_key bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz
);
COMMENT ON TABLE webhook_keys IS 'What webhooks are signed with as v1a (ed25519), whoever they go to.';
COMMENT ON COLUMN webhook_keys.private_key IS 'Sealed, as the secrets of subscriptions are.';
COMMENT ON COLUMN webhook_keys.valid_until IS 'When it stops signing; null: not before it is rotated.';
CREATE UNIQUE INDEX webhook_keys_newest ON webhook_keys ((true)) WHERE valid_until IS NULL;

CREATE INDEX deliveries_parked ON deliveries (subscription_id, signal_id) WHERE state = 'parked';
CREATE INDEX deliveries_held ON deliveries (subscription_id, reason, signal_id) WHERE state = 'parked' AND due_at IS NULL;

CREATE TABLE gates (
    subscription_id bigint PRIMARY KEY,
    held            boolean NOT NULL DEFAULT false,
    slot_at         timestamptz NOT NULL DEFAULT 'epoch',
    spent_at        timestamptz NOT NULL DEFAULT 'epoch',
    catch_up        double precision,
    caught_up       bigint NOT NULL DEFAULT 0,
    caught_up_at    timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 50);
COMMENT ON TABLE gates IS
    'One row per subscription: whoever decides whether its deliveries may go, holds them or lets them go on, has locked it.';
COMMENT ON COLUMN gates.held IS 'Whether there may be deliveries that wait for something else than a moment.';
COMMENT ON COLUMN gates.slot_at IS 'max_per_second: the first moment that no delivery has been given yet.';
COMMENT ON COLUMN gates.spent_at IS 'max_per_second: until when the attempts that were let through use it up.';
COMMENT ON COLUMN gates.catch_up IS 'Deliveries a second after a pause; null: slowly at first, then faster and faster.';
COMMENT ON COLUMN gates.caught_up IS 'How many deliveries went on since the last pause ended, the last of them at caught_up_at.';

CREATE INDEX gates_holding ON gates (subscription_id) WHERE held;

CREATE FUNCTION add_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO gates (subscription_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER gate AFTER INSERT ON subscriptions FOR EACH ROW EXECUTE FUNCTION add_gate();
INSERT INTO gates (subscription_id) SELECT id FROM subscriptions;

CREATE TABLE places (
    subscription_id bigint NOT NULL,
    signal_id       bigint NOT NULL,
    until           timestamptz NOT NULL,
    PRIMARY KEY (subscription_id, signal_id)
);
COMMENT ON TABLE places IS 'max_in_flight: who is in flight, or about to be; a place whose holder was killed comes free by itself.';

CREATE TABLE circuits (
    key           bytea PRIMARY KEY,
    address       text NOT NULL,
    failures      integer NOT NULL DEFAULT 0,
    openings      integer NOT NULL DEFAULT 0,
    retry_at      timestamptz,
    probing_until timestamptz,
    changed_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE circuits IS 'Webhooks that seem to be down: a row appears with the first failure and goes with the next success.';
COMMENT ON COLUMN circuits.failures IS 'Failures since the last success.';
COMMENT ON COLUMN circuits.openings IS 'How often it opened since the last success.';
COMMENT ON COLUMN circuits.retry_at IS 'When to try it again; null: it has not opened.';
COMMENT ON COLUMN circuits.probing_until IS 'Until when the one attempt that tries it again may take.';

-- Addresses may be longer than an index takes.
CREATE FUNCTION circuit_key(address text) RETURNS bytea LANGUAGE sql STABLE
RETURN sha256(convert_to(address, 'UTF8'));
