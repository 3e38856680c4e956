-- The schema after all migrations, for readers: broker/store/postgres/migrations make it. Written by
-- `python -m tests.support.schema`. Partitions of signals, matches, deliveries and attempts are left out.

CREATE SCHEMA transport;

-- One ascending sequence for signals and for the creation and deletion of subscriptions, so that their order is
-- known.
CREATE SEQUENCE signal_ids AS bigint;

-- The order in which signals became visible; see the statement insert_signals.
CREATE SEQUENCE signal_positions AS bigint;

-- The numbers in column turn. A signal has the same number in all ordering groups of its key; a session takes
-- them under the lock of the key.
CREATE SEQUENCE turns AS bigint;

CREATE SEQUENCE transport.owners AS integer;

-- The ids of signals whose throws were answered, as gateways report them every second. The scheduler moves them
-- to unrecorded_signals.
CREATE TABLE acceptance_reports (
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    numbers int8multirange NOT NULL
);

-- How often access was changed. Gateways that hear no notification see it from that.
CREATE TABLE access_changes (
    id integer NOT NULL DEFAULT 1,
    number bigint NOT NULL,
    CONSTRAINT access_changes_pkey PRIMARY KEY (id),
    CONSTRAINT access_changes_id_check CHECK ((id = 1))
) WITH (fillfactor=50);

CREATE TABLE attempts (
    signal_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    number integer NOT NULL,
    started_at timestamptz NOT NULL,
    duration double precision NOT NULL,
    outcome text NOT NULL,
    status integer,
    error text,
    excerpt text,
    -- How each step of the attempt ended.
    steps json,
    -- What was exchanged with the webhook, or with that of each step, packed by broker.store.exchanges.py.
    exchanges bytea,
    -- Whether its deliverer was lost before it stored an outcome; true until then, if it notes its steps. The
    -- outcome is failed then, and the duration 0: the version before knows no other.
    interrupted boolean,
    -- Who leased the delivery, if its target is a pull target and the caller said so.
    worker text,
    CONSTRAINT attempts_pkey PRIMARY KEY (signal_id, subscription_id, number)
) PARTITION BY RANGE (signal_id);

-- Changes of the administration, with their authors; written in the transaction of the change.
CREATE TABLE audit_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    created_at timestamptz NOT NULL DEFAULT now(),
    type text NOT NULL,
    -- The id of the changed row; the type says in which table.
    subject_id bigint NOT NULL,
    principal text NOT NULL,
    user_id bigint,
    token_id bigint,
    -- The subject before the change, without secrets; null if it was created.
    before json,
    -- The subject after the change, without secrets; null if it was deleted.
    after json,
    -- The names that the principal was limited to; null: it was not, or not known.
    names text[],
    -- The tenants that the principal was limited to; null: it was not, or not known.
    tenants text[],
    CONSTRAINT audit_events_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_events_by_type ON audit_events (type, id);

-- Partitions: ranges of ids, and so of time. Signals, matches, deliveries and attempts have a table for each,
-- named by the first id.
CREATE TABLE blocks (
    first_id bigint NOT NULL,
    -- The first id after the partition.
    next_id bigint NOT NULL,
    -- The last id that was given in the partition; null until it is closed.
    last_id bigint,
    -- When the first id in the partition was given; null if none was.
    opened_at timestamptz,
    -- Since when no more ids in the partition are given.
    closed_at timestamptz,
    -- When the partition was last detached, except for signals that were still owed.
    emptied_at timestamptz,
    CONSTRAINT blocks_pkey PRIMARY KEY (first_id),
    CONSTRAINT blocks_check CHECK ((next_id > first_id))
);

-- Accepted messages that no subscription waits for so far. They become signals once one does, or once their time
-- to live is over.
CREATE TABLE buffered_messages (
    -- The number of the message, and the id of the signal that it becomes.
    id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    -- When its time to live is over.
    until timestamptz NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    -- The tenant that it is for; empty: those without one.
    tenant text NOT NULL,
    payload text NOT NULL,
    types text NOT NULL,
    source text NOT NULL,
    token_id bigint,
    -- What it names; empty: nothing.
    business_key text NOT NULL,
    traceparent text,
    tracestate text,
    hops integer NOT NULL,
    -- The size of the payload.
    bytes integer NOT NULL,
    CONSTRAINT buffered_messages_pkey PRIMARY KEY (id)
);
CREATE INDEX buffered_messages_by_end ON buffered_messages (until, id);
CREATE INDEX buffered_messages_of_name ON buffered_messages (name, id);
CREATE INDEX buffered_messages_of_tenant ON buffered_messages (tenant) INCLUDE (bytes);
CREATE TRIGGER tell_buffered AFTER INSERT ON buffered_messages FOR EACH ROW EXECUTE FUNCTION tell_correlatable();

-- Webhooks of subscriptions that seem to be down: a row appears with the first failure and goes with the next
-- success.
CREATE TABLE circuits (
    key bytea NOT NULL,
    -- The webhook's URL without what may be a credential.
    address text NOT NULL,
    -- The number of failures since the last success.
    failures integer NOT NULL DEFAULT 0,
    -- How often the circuit opened since the last success.
    openings integer NOT NULL DEFAULT 0,
    -- When the target may be tried again; null if the circuit is closed.
    retry_at timestamptz,
    -- Until when the single attempt that tries the target again may take.
    probing_until timestamptz,
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- Until when the target asked for no requests (Retry-After); null if it did not.
    spared_until timestamptz,
    -- The subscription that delivers there; null: all of them, for processes of earlier versions.
    subscription_id bigint,
    -- Whether deliveries may be waiting for it.
    awaited boolean NOT NULL DEFAULT false,
    -- When a delivery was last let go to try the target.
    trial_at timestamptz,
    CONSTRAINT circuits_pkey PRIMARY KEY (key)
) WITH (fillfactor=50);
CREATE INDEX circuits_awaited ON circuits (retry_at NULLS FIRST) WHERE awaited;
CREATE INDEX circuits_by_subscription ON circuits (subscription_id) WHERE (subscription_id IS NOT NULL);
CREATE TRIGGER note_changed AFTER UPDATE ON circuits FOR EACH ROW WHEN ((((old.failures = 0) <> (new.failures = 0)) OR ((old.retry_at IS NULL) <> (new.retry_at IS NULL)))) EXECUTE FUNCTION note_circuit();
CREATE TRIGGER note_dropped AFTER DELETE ON circuits FOR EACH ROW WHEN ((old.retry_at IS NOT NULL)) EXECUTE FUNCTION note_circuit();

-- How many messages dead queues hold, as events have told it.
CREATE TABLE dead_queues (
    queue text NOT NULL,
    n bigint NOT NULL DEFAULT 0,
    -- Since when one seems to hold fewer: for a moment it does whenever it is looked into.
    lower_since timestamptz,
    CONSTRAINT dead_queues_pkey PRIMARY KEY (queue)
);

-- Processes that make attempts. Each shows that it is there by its seen_at.
CREATE TABLE deliverers (
    id bigint GENERATED ALWAYS AS IDENTITY,
    seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT deliverers_pkey PRIMARY KEY (id)
) WITH (fillfactor=50);

CREATE TABLE deliveries (
    signal_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    state text NOT NULL,
    -- The number of attempts begun; messages about earlier ones are out of date.
    attempts integer NOT NULL DEFAULT 0,
    -- parked: when the next attempt is due, null while the delivery waits for an event (see reason); pending: when
    -- it is rescued.
    due_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    -- Why the delivery is parked, dead or cancelled.
    reason text,
    -- The number of attempts that the schedule does not count: those before the last redrive, and interrupted ones
    -- after it.
    redriven integer NOT NULL DEFAULT 0,
    -- The number of steps that have succeeded; the next attempt continues after them.
    steps_done integer NOT NULL DEFAULT 0,
    -- For ordered subscriptions: the deliveries with one key are an ordering group, delivered one after the other.
    ordering_key text,
    -- The sequence number in the ordering group; null while an earlier signal may still be recorded, or before the
    -- signal's moment.
    turn bigint,
    -- The app of the handler, whose queue the attempts wait in; empty for other targets.
    app text NOT NULL DEFAULT ''::text,
    -- Since when the last attempt has been under way; null once it has ended, or is known to be interrupted.
    begun_at timestamptz,
    -- When the signal expires, null if it never does. -infinity: as the signal says; the scheduler looks it up.
    expires_at timestamptz DEFAULT '-infinity'::timestamptz,
    -- The deliverer that began the last attempt; null: one of an earlier version.
    begun_by bigint,
    CONSTRAINT deliveries_pkey PRIMARY KEY (signal_id, subscription_id),
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'parked'::text, 'delivered'::text, 'dead'::text, 'cancelled'::text])))
) PARTITION BY RANGE (signal_id);
CREATE INDEX deliveries_at_head ON deliveries (subscription_id, ordering_key) WHERE ((ordering_key IS NOT NULL) AND ((state = 'pending'::text) OR ((state = 'parked'::text) AND (reason <> ALL (ARRAY['ordered'::text, 'scheduled'::text])))));
CREATE INDEX deliveries_by_subscription ON deliveries (subscription_id, signal_id);
CREATE INDEX deliveries_cancelled ON deliveries (signal_id, subscription_id) WHERE (state = 'cancelled'::text);
CREATE INDEX deliveries_dead ON deliveries (signal_id, subscription_id) WHERE (state = 'dead'::text);
CREATE INDEX deliveries_dead_by_subscription ON deliveries (subscription_id, signal_id) WHERE (state = 'dead'::text);
CREATE INDEX deliveries_dead_in_line ON deliveries (subscription_id, ordering_key, turn) WHERE ((ordering_key IS NOT NULL) AND (state = 'dead'::text));
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE ((state = 'parked'::text) AND (due_at IS NOT NULL));
CREATE INDEX deliveries_due_by_subscription ON deliveries (subscription_id, due_at) WHERE ((state = 'parked'::text) AND (due_at IS NOT NULL));
CREATE INDEX deliveries_expiring ON deliveries (expires_at) WHERE ((expires_at IS NOT NULL) AND (state = ANY (ARRAY['pending'::text, 'parked'::text])));
CREATE INDEX deliveries_held ON deliveries (subscription_id, reason, signal_id) WHERE ((state = 'parked'::text) AND (due_at IS NULL));
CREATE INDEX deliveries_in_line ON deliveries (subscription_id, ordering_key, turn) WHERE ((ordering_key IS NOT NULL) AND (state = 'parked'::text) AND (reason = 'ordered'::text));
CREATE INDEX deliveries_leasable ON deliveries (subscription_id, signal_id) WHERE ((state = 'pending'::text) AND (app = '$pull'::text) AND (reason IS DISTINCT FROM 'leased'::text));
CREATE INDEX deliveries_leasable_in_order ON deliveries (signal_id, subscription_id) WHERE ((state = 'pending'::text) AND (app = '$pull'::text) AND (reason IS DISTINCT FROM 'leased'::text));
CREATE INDEX deliveries_leased ON deliveries (subscription_id, signal_id) WHERE ((state = 'pending'::text) AND (app = '$pull'::text) AND (reason = 'leased'::text));
CREATE INDEX deliveries_parked ON deliveries (subscription_id, signal_id) WHERE (state = 'parked'::text);
CREATE INDEX deliveries_parked_in_order ON deliveries (signal_id, subscription_id) WHERE (state = 'parked'::text);
CREATE INDEX deliveries_pending ON deliveries (app, due_at) WHERE (state = 'pending'::text);
CREATE INDEX deliveries_recallable ON deliveries (subscription_id, signal_id) WHERE ((state = 'parked'::text) AND (reason = ANY (ARRAY['circuit'::text, 'throttled'::text])));
CREATE INDEX deliveries_to_join ON deliveries (due_at) WHERE ((state = 'parked'::text) AND (reason = 'scheduled'::text) AND (ordering_key IS NOT NULL));
CREATE INDEX deliveries_without_turn ON deliveries (ordering_key, signal_id) WHERE ((ordering_key IS NOT NULL) AND (state = 'parked'::text) AND (reason = 'ordered'::text) AND (turn IS NULL));
CREATE TRIGGER count_deleted AFTER DELETE ON deliveries REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();
CREATE TRIGGER count_inserted AFTER INSERT ON deliveries REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();
CREATE TRIGGER count_updated AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_deliveries();

-- The number of signals of a name that came in by signal endpoints on a day (UTC), and the range of their ids:
-- totals without counting.
CREATE TABLE endpoint_days (
    name text NOT NULL,
    day date NOT NULL,
    signals bigint NOT NULL,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    CONSTRAINT endpoint_days_pkey PRIMARY KEY (name, day)
) WITH (fillfactor=50);

-- The same for tokens of signal endpoints.
CREATE TABLE endpoint_token_uses (
    token_id bigint NOT NULL,
    used_at timestamptz NOT NULL,
    CONSTRAINT endpoint_token_uses_pkey PRIMARY KEY (token_id),
    CONSTRAINT endpoint_token_uses_token_id_fkey FOREIGN KEY (token_id) REFERENCES endpoint_tokens(id) ON DELETE CASCADE
) WITH (fillfactor=50);

CREATE TABLE endpoint_tokens (
    id bigint GENERATED ALWAYS AS IDENTITY,
    endpoint_id bigint NOT NULL,
    name text NOT NULL,
    digest bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    created_by_user_id bigint,
    -- From when on it opens nothing; null: never.
    expires_at timestamptz,
    CONSTRAINT endpoint_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT endpoint_tokens_endpoint_id_fkey FOREIGN KEY (endpoint_id) REFERENCES endpoints(id) ON DELETE CASCADE,
    CONSTRAINT endpoint_tokens_digest_key UNIQUE (digest),
    CONSTRAINT endpoint_tokens_name UNIQUE (endpoint_id, name)
);
CREATE TRIGGER access_changed AFTER INSERT OR DELETE OR UPDATE ON endpoint_tokens FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();

CREATE TABLE endpoints (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    created_by_user_id bigint,
    -- The tenants that its creator was limited to; null: no limit.
    tenants text[],
    CONSTRAINT endpoints_pkey PRIMARY KEY (id),
    CONSTRAINT endpoints_name UNIQUE (name)
);
CREATE TRIGGER access_changed AFTER INSERT OR DELETE OR UPDATE ON endpoints FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();

-- What happened and is not combined to events yet.
CREATE TABLE event_notes (
    type text NOT NULL,
    -- 0: it is about none.
    subscription_id bigint NOT NULL DEFAULT 0,
    -- What else it is about, so that only what is alike is combined: a webhook (its MD5), a quota, a queue.
    subject text NOT NULL DEFAULT ''::text,
    -- Whose it is, if it is about no subscription.
    tenants text[],
    at timestamptz NOT NULL DEFAULT now(),
    -- How many times it happened.
    n bigint NOT NULL DEFAULT 1,
    details json NOT NULL DEFAULT '{}'::json
);

-- What happened since the last event of that kind, which was a minute ago or less.
CREATE TABLE event_windows (
    subscription_id bigint NOT NULL,
    subject text NOT NULL,
    type text NOT NULL,
    tenants text[],
    n bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    details json NOT NULL,
    told_at timestamptz,
    CONSTRAINT event_windows_pkey PRIMARY KEY (subscription_id, subject, type)
) WITH (fillfactor=70);

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,
    subscription_id bigint NOT NULL,
    subscription_name text,
    tenant_id text,
    -- The tenants that it belongs to; null: to none.
    tenants text[],
    -- When it happened first, of the n times that are combined.
    since timestamptz NOT NULL,
    at timestamptz NOT NULL,
    n bigint NOT NULL,
    details json NOT NULL,
    -- The signal that tells it, if any subscription was for such events.
    signal_id bigint,
    signal_at timestamptz,
    -- Whether its signal is in the record queue, or none is needed.
    is_settled boolean NOT NULL DEFAULT false,
    CONSTRAINT events_pkey PRIMARY KEY (id)
);
CREATE INDEX events_of_subscription ON events (subscription_id, id);
CREATE INDEX events_unsettled ON events (id) WHERE (NOT is_settled);

-- Pending records: signals with an ordering key whose throw was answered and that are not recorded yet. Later
-- signals of the key wait for them.
CREATE TABLE expected_signals (
    signal_id bigint NOT NULL,
    ordering_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT expected_signals_pkey PRIMARY KEY (signal_id)
);
CREATE INDEX expected_signals_by_age ON expected_signals (created_at);
CREATE INDEX expected_signals_by_key ON expected_signals (ordering_key, signal_id);

-- Digests of values that a rotation replaced, and that are still good for a while.
CREATE TABLE former_digests (
    digest bytea NOT NULL,
    token_id bigint,
    endpoint_token_id bigint,
    valid_until timestamptz NOT NULL,
    CONSTRAINT former_digests_pkey PRIMARY KEY (digest),
    CONSTRAINT former_digests_check CHECK ((num_nonnulls(token_id, endpoint_token_id) = 1)),
    CONSTRAINT former_digests_endpoint_token_id_fkey FOREIGN KEY (endpoint_token_id) REFERENCES endpoint_tokens(id) ON DELETE CASCADE,
    CONSTRAINT former_digests_token_id_fkey FOREIGN KEY (token_id) REFERENCES tokens(id) ON DELETE CASCADE
);
CREATE INDEX former_digests_of_endpoint_token ON former_digests (endpoint_token_id);
CREATE INDEX former_digests_of_token ON former_digests (token_id);
CREATE TRIGGER access_changed AFTER INSERT OR DELETE OR UPDATE ON former_digests FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();

-- The admission of each subscription. A session that decides about its deliveries locks the row.
CREATE TABLE gates (
    subscription_id bigint NOT NULL,
    -- Whether deliveries may be waiting for an event.
    held boolean NOT NULL DEFAULT false,
    -- max_per_second: the first moment that is not reserved.
    slot_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamptz,
    -- Used by processes of version 0.1.0.
    spent_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamptz,
    -- Deliveries per second after a pause; null begins slowly and speeds up.
    catch_up double precision,
    -- The number of deliveries released since the last pause ended, the last of them at caught_up_at.
    caught_up bigint NOT NULL DEFAULT 0,
    caught_up_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamptz,
    -- max_per_second: whether deliveries wait for their reservations.
    rate_waiting boolean NOT NULL DEFAULT false,
    -- Whether deliveries that are parked because of their targets are to ask for admission again at once.
    recalling boolean NOT NULL DEFAULT false,
    -- Whether there may be deliveries that wait for their share of the deliverers' attempts.
    surplus boolean NOT NULL DEFAULT false,
    CONSTRAINT gates_pkey PRIMARY KEY (subscription_id)
) WITH (fillfactor=50);
CREATE INDEX gates_holding ON gates (subscription_id) WHERE held;
CREATE INDEX gates_pacing ON gates (subscription_id) WHERE rate_waiting;
CREATE INDEX gates_recalling ON gates (subscription_id) WHERE recalling;
CREATE INDEX gates_with_surplus ON gates (subscription_id) WHERE surplus;

CREATE TABLE idempotency_keys (
    principal text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    signal_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Attempts at deliveries to pull targets; those that have ended are kept for a while, so that a repeated request
-- gets the same answer.
CREATE TABLE leases (
    -- The SHA-256 of the lease token.
    digest bytea NOT NULL,
    signal_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    -- The number of the attempt.
    number integer NOT NULL,
    -- Who leased it, as the caller said.
    worker text,
    -- Whether it has a concurrency slot.
    slot boolean NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    until timestamptz NOT NULL,
    -- How it ended; null while it lasts, or if it has lapsed and that was not noticed so far.
    ended text,
    -- True if it was returned; it has failed then, as far as versions before know.
    returned boolean,
    CONSTRAINT leases_pkey PRIMARY KEY (digest),
    CONSTRAINT leases_ended_check CHECK ((ended = ANY (ARRAY['acknowledged'::text, 'failed'::text, 'lapsed'::text])))
);
CREATE INDEX leases_ended ON leases (until) WHERE (ended IS NOT NULL);
CREATE INDEX leases_lasting ON leases (until) WHERE (ended IS NULL);
CREATE INDEX leases_of_delivery ON leases (signal_id, subscription_id, number);

-- Changes of the counts, written by each statement. Rows are only appended, so writers never wait; the scheduler
-- folds them into ledger_tallies.
CREATE TABLE ledger_deltas (
    subscription_id bigint NOT NULL,
    -- recorded: signals (of subscription 0); matched: deliveries owed; or a state: deliveries in it.
    counted text NOT NULL,
    n bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    -- The signals that something happened to which the statistics count: they were recorded (recorded, matched), or
    -- a delivery of theirs was delivered, died, or had an attempt that failed and is repeated (parked).
    signal_ids bigint[]
) WITH (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=10000, autovacuum_vacuum_cost_delay=0);

-- The counts without ledger_deltas. Subscription 0 stands for all subscriptions.
CREATE TABLE ledger_tallies (
    subscription_id bigint NOT NULL,
    counted text NOT NULL,
    n bigint NOT NULL,
    CONSTRAINT ledger_tallies_pkey PRIMARY KEY (subscription_id, counted)
) WITH (fillfactor=50);

-- What `matches` has, for signals that are recorded in chunks: a row for each chunk, whose first subscription is
-- `first_id`.
CREATE TABLE match_chunks (
    signal_id bigint NOT NULL,
    first_id bigint NOT NULL,
    subscription_ids bigint[] NOT NULL,
    CONSTRAINT match_chunks_pkey PRIMARY KEY (signal_id, first_id)
);
CREATE TRIGGER count_deleted AFTER DELETE ON match_chunks REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_match_chunks();
CREATE TRIGGER count_inserted AFTER INSERT ON match_chunks REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_match_chunks();

-- The subscriptions that a signal is owed to, written when it was recorded or replayed. Independent of
-- deliveries, so that the ledger can fail.
CREATE TABLE matches (
    signal_id bigint NOT NULL,
    subscription_ids bigint[] NOT NULL,
    CONSTRAINT matches_pkey PRIMARY KEY (signal_id)
) PARTITION BY RANGE (signal_id);
CREATE TRIGGER count_deleted AFTER DELETE ON matches REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();
CREATE TRIGGER count_inserted AFTER INSERT ON matches REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();
CREATE TRIGGER count_updated AFTER UPDATE ON matches REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_matches();

-- The ids that messages were published with, until their time to live is over.
CREATE TABLE message_ids (
    -- The SHA-256 of the id, the name, the correlation key and the tenant.
    digest bytea NOT NULL,
    -- The number of the message.
    signal_id bigint NOT NULL,
    until timestamptz NOT NULL,
    CONSTRAINT message_ids_pkey PRIMARY KEY (digest)
);
CREATE INDEX message_ids_by_end ON message_ids (until);

-- max_in_flight: the concurrency slots that are taken. The slot of a deliverer that was killed is free again
-- after a time.
CREATE TABLE places (
    subscription_id bigint NOT NULL,
    signal_id bigint NOT NULL,
    until timestamptz NOT NULL,
    CONSTRAINT places_pkey PRIMARY KEY (subscription_id, signal_id)
);

-- The payloads that were accepted on a day (UTC) of those with a quota, as gateways report them every second.
CREATE TABLE quota_days (
    kind text NOT NULL,
    subject text NOT NULL,
    day date NOT NULL,
    payload_bytes bigint NOT NULL,
    CONSTRAINT quota_days_pkey PRIMARY KEY (kind, subject, day)
) WITH (fillfactor=50);

-- How many throws a second those with a quota tried lately at each gateway; gateways share the quota in
-- proportion.
CREATE TABLE quota_demands (
    gateway uuid NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    throws_per_second double precision NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT quota_demands_pkey PRIMARY KEY (gateway, kind, subject)
) WITH (fillfactor=50);

-- How much a tenant or an API token may use; null: as much as it likes.
CREATE TABLE quotas (
    kind text NOT NULL,
    -- The tenant, or the token's number.
    subject text NOT NULL,
    throws_per_second double precision,
    -- How many subscriptions there may be, of the tenant or made by the token.
    subscriptions integer,
    -- How many subscriptions a signal may be for, by name and scope.
    deliveries_per_throw integer,
    -- How many bytes the payloads of a day (UTC) may have together.
    payload_bytes_per_day bigint,
    CONSTRAINT quotas_pkey PRIMARY KEY (kind, subject),
    CONSTRAINT quotas_kind_check CHECK ((kind = ANY (ARRAY['tenant'::text, 'token'::text])))
);
CREATE TRIGGER quotas_changed AFTER INSERT OR DELETE OR UPDATE ON quotas FOR EACH STATEMENT EXECUTE FUNCTION tell_quotas_changed();

-- What each running recorder holds of the record queue, reported every second.
CREATE TABLE recorders (
    name text NOT NULL,
    -- The number of messages that it was handed out and has not settled.
    held integer NOT NULL,
    -- Whether it has held the oldest of them for long.
    stuck boolean NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The number of the last proof that it was handed out.
    proof bigint NOT NULL DEFAULT 0,
    CONSTRAINT recorders_pkey PRIMARY KEY (name)
) WITH (fillfactor=50);

-- Detached partitions, with tables called retired_..._<number>: nothing reads them until they are archived and
-- dropped.
CREATE TABLE retired_blocks (
    number bigint GENERATED ALWAYS AS IDENTITY,
    first_id bigint NOT NULL,
    next_id bigint NOT NULL,
    -- Signals that are still in service; the detached table has only a copy.
    kept bigint[] NOT NULL,
    retired_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT retired_blocks_pkey PRIMARY KEY (number)
);

-- Targets that are to be tried with made signals; a row goes with its answer.
CREATE TABLE samples (
    id bigint GENERATED ALWAYS AS IDENTITY,
    subscription_id bigint NOT NULL,
    -- Whose workers are to make the attempt; empty: any deliverer.
    app text NOT NULL,
    payload text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    taken_at timestamptz,
    answer json,
    CONSTRAINT samples_pkey PRIMARY KEY (id)
);

-- Has a row if credentials of targets are sealed: since the store is there, or since `signal-broker reseal`.
CREATE TABLE sealing (
    since timestamptz NOT NULL DEFAULT now()
);

-- Sessions of browsers. What a session may do is what its credential may do at that moment.
CREATE TABLE sessions (
    id bigint GENERATED ALWAYS AS IDENTITY,
    -- The SHA-256 of the cookie.
    digest bytea NOT NULL,
    -- The key of the principal that signed in.
    principal text NOT NULL,
    -- The SHA-256 of the token, or of the stored hash of the password, that it signed in with.
    credential bytea NOT NULL,
    -- The user, if one signed in with a password.
    user_id bigint,
    -- The principal of a token of an issuer, which is not in the store; else null.
    claims json,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- From when on it opens nothing. It is kept for another hour, in which it counts.
    ends_at timestamptz NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE,
    CONSTRAINT sessions_digest_key UNIQUE (digest)
);
CREATE INDEX sessions_by_end ON sessions (ends_at);
CREATE INDEX sessions_of_principal ON sessions (principal, id);
CREATE INDEX sessions_of_user ON sessions (user_id) WHERE (user_id IS NOT NULL);

-- Into how many shards a queue is split; one that has no row is not split.
CREATE TABLE shards (
    queue text NOT NULL,
    -- How many of them get messages.
    published integer NOT NULL,
    -- How many of them are declared and consumed: more than published while their number changes.
    consumed integer NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- Until then, the consumption of those that get no messages is suspended; they may hold some.
    suspended_until timestamptz,
    CONSTRAINT shards_pkey PRIMARY KEY (queue),
    CONSTRAINT shards_check CHECK (((published >= 1) AND (published <= consumed))),
    CONSTRAINT shards_consumed_check CHECK ((consumed <= 32))
);

CREATE TABLE signals (
    id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    tenant_id text,
    execution_id text,
    -- The tenants that a broadcast was limited to; null if it was not limited.
    reach json,
    -- JSON text as it was sent; text, because json and jsonb would refuse or rewrite some of it.
    payload text NOT NULL,
    -- The types of the variables that cannot be inferred from the payload (JSON text).
    types text NOT NULL,
    source text NOT NULL,
    source_id bigint,
    token_id bigint,
    business_key text,
    traceparent text,
    -- Ascends with the position.
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- scheduled: the deliveries are parked until deliver_at, and taps have not got the signal.
    state text NOT NULL DEFAULT 'recorded'::text,
    deliver_at timestamptz,
    expires_at timestamptz,
    ordering_key text,
    -- scheduled: deliver_at, or, once the signal was taken to be published to the taps, when that is tried again.
    due_at timestamptz,
    -- The place in the order of recording. Lists follow it, so a reader that continues after a page misses no
    -- signal.
    "position" bigint NOT NULL,
    -- How many deliveries led to it, one after the other, as far as its callers told.
    hops integer NOT NULL DEFAULT 0,
    -- The W3C tracestate that came with the traceparent, up to 512 characters.
    tracestate text,
    CONSTRAINT signals_pkey PRIMARY KEY (id),
    CONSTRAINT signals_state_check CHECK ((state = ANY (ARRAY['recorded'::text, 'scheduled'::text, 'cancelled'::text])))
) PARTITION BY RANGE (id);
CREATE INDEX signals_by_business_key ON signals (business_key, "position") WHERE (business_key IS NOT NULL);
CREATE INDEX signals_by_execution ON signals (execution_id, "position") WHERE (execution_id IS NOT NULL);
CREATE INDEX signals_by_moment ON signals (recorded_at);
CREATE INDEX signals_by_name ON signals (name, "position");
CREATE INDEX signals_by_ordering_key ON signals (ordering_key, "position") WHERE (ordering_key IS NOT NULL);
CREATE INDEX signals_by_position ON signals ("position");
CREATE INDEX signals_by_source ON signals (source, source_id, id) WHERE (source_id IS NOT NULL);
CREATE INDEX signals_by_state ON signals (state, "position") WHERE (state <> 'recorded'::text);
CREATE INDEX signals_by_tenant ON signals (tenant_id, "position") WHERE (tenant_id IS NOT NULL);
CREATE INDEX signals_for_later ON signals (deliver_at) WHERE (deliver_at IS NOT NULL);
CREATE INDEX signals_from_endpoints ON signals (id) INCLUDE (name, created_at) WHERE (source = 'signal-endpoint'::text);
CREATE INDEX signals_of_source ON signals (source_id, "position") WHERE (source_id IS NOT NULL);
CREATE INDEX signals_scheduled ON signals (due_at) WHERE (state = 'scheduled'::text);

-- What happened in a minute or in an hour: in all, of a tenant, of a name, to signals of a tenant and a name,
-- and to deliveries of a subscription and a name. What a row is not about is 0 or empty; a tenant or a name of
-- U+001F stands for those for which there was no room.
CREATE TABLE statistics (
    -- 60 or 3600.
    seconds integer NOT NULL,
    kind text NOT NULL,
    subscription_id bigint NOT NULL,
    -- The tenant of the signals (accepted, recorded), or that of the subscriptions; empty: none.
    tenant text NOT NULL,
    name text NOT NULL,
    at timestamptz NOT NULL,
    -- By the moment of the throw; of a subscription: what is owed to it.
    accepted bigint NOT NULL,
    recorded bigint NOT NULL,
    delivered bigint NOT NULL,
    dead bigint NOT NULL,
    retried bigint NOT NULL,
    -- Which classes of latencies the delivered ones are in: class n ends at 1.1^n ms.
    latency_classes integer[],
    -- How many are in each of them.
    latency_counts bigint[],
    CONSTRAINT statistics_pkey PRIMARY KEY (seconds, kind, subscription_id, tenant, name, at),
    CONSTRAINT statistics_kind_check CHECK ((kind = ANY (ARRAY['all'::text, 'tenant'::text, 'name'::text, 'signals'::text, 'subscription'::text])))
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_cost_delay=0);
CREATE INDEX statistics_of_moment ON statistics (seconds, kind, at, subscription_id, tenant, name);

-- How far the minutes are added up to hours. What happened before is entered in both.
CREATE TABLE statistics_progress (
    id integer NOT NULL DEFAULT 1,
    added_up_until timestamptz NOT NULL,
    CONSTRAINT statistics_progress_pkey PRIMARY KEY (id),
    CONSTRAINT statistics_progress_id_check CHECK ((id = 1))
);

CREATE TABLE subscriptions (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    is_pattern boolean NOT NULL,
    tenant_id text,
    execution_id text,
    once boolean NOT NULL,
    kind text NOT NULL,
    address text NOT NULL,
    headers json NOT NULL,
    secret bytea,
    schedule double precision[] NOT NULL,
    timeout double precision,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The number of its creation in signal_ids: it gets later signals only.
    since bigint NOT NULL,
    -- The number of its deletion in signal_ids: it gets earlier signals only.
    until bigint,
    consumed_by bigint,
    filter json,
    method text NOT NULL DEFAULT 'POST'::text,
    body_template text,
    -- Several targets, delivered to in order, in place of one.
    steps json,
    max_in_flight integer,
    max_per_second double precision,
    paused_at timestamptz,
    -- Why it gets no signals until it is resumed, for example a target that answered 410.
    disabled_because text,
    -- Signs beside the secret until previous_secret_until.
    previous_secret bytea,
    previous_secret_until timestamptz,
    signatures text[] NOT NULL DEFAULT '{v1}'::text[],
    -- Whether signals with one ordering key are delivered one after the other.
    ordered boolean NOT NULL DEFAULT false,
    -- Whether the deliveries behind a dead one wait until it is redriven, or continue.
    head_of_line text NOT NULL DEFAULT 'block'::text,
    -- The principal that made it; null: a worker, or an earlier version.
    created_by text,
    -- The tenants that its creator was limited to; null: no limit, or not known. Without a tenant of its own, the
    -- subscription belongs to these.
    owner_tenants text[],
    -- Whether its creator could see what belongs to no tenant.
    owner_untenanted boolean NOT NULL DEFAULT true,
    -- The API token that made it, for its quota.
    created_by_token bigint,
    -- The URL and the headers, sealed, if they hold credentials; address and headers have *** in their place. Steps
    -- have their own.
    sealed text,
    -- When the signal that consumed it expires, or its delivery, which was under way then, is looked at next; null:
    -- it stays consumed.
    consumed_until timestamptz,
    -- How texts are compared with which path of the payload, if it is found by that and a value; else empty.
    filter_path text NOT NULL GENERATED ALWAYS AS (COALESCE((filter_access(filter))[1], ''::text)) STORED,
    -- How texts are compared with which path of the payload, if it is found by that and a value or a span; else
    -- empty.
    found_by text NOT NULL GENERATED ALWAYS AS (COALESCE((filter_access(filter))[1], (filter_span(filter))[1], ''::text)) STORED,
    -- The business key of the execution that waits, which messages may name.
    business_key text,
    -- What messages may name besides: an object of texts, numbers, truth values and nulls.
    correlation_keys jsonb,
    -- How a signal is written: standard, cloudevents-structured or cloudevents-binary. Steps have their own.
    format text NOT NULL DEFAULT 'standard'::text,
    -- The name that a webhook's receiver is asked for permission as, before it gets signals; null: it is not asked.
    request_origin text,
    CONSTRAINT subscriptions_pkey PRIMARY KEY (id),
    CONSTRAINT subscriptions_head_of_line_check CHECK ((head_of_line = ANY (ARRAY['block'::text, 'skip'::text]))),
    CONSTRAINT subscriptions_method_check CHECK ((method = ANY (ARRAY['POST'::text, 'PUT'::text, 'PATCH'::text, 'DELETE'::text]))),
    CONSTRAINT subscriptions_signatures_check CHECK (((signatures <@ '{v1,v1a}'::text[]) AND (signatures <> '{}'::text[])))
);
CREATE INDEX subscriptions_by_app ON subscriptions (split_part(address, '/'::text, 1)) WHERE (kind = 'handler'::text);
CREATE INDEX subscriptions_by_consumer ON subscriptions (consumed_by) WHERE (consumed_by IS NOT NULL);
CREATE INDEX subscriptions_by_token ON subscriptions (created_by_token) WHERE ((created_by_token IS NOT NULL) AND (until IS NULL));
CREATE INDEX subscriptions_consumed_for_a_while ON subscriptions (consumed_until) WHERE ((consumed_by IS NOT NULL) AND (consumed_until IS NOT NULL));
CREATE INDEX subscriptions_filtered_of_pattern ON subscriptions (pattern_key(name), found_by, COALESCE(until, '9223372036854775807'::bigint)) WHERE ((pattern_key(name) IS NOT NULL) AND (found_by <> ''::text) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_filtered_of_tenants_pattern ON subscriptions (COALESCE(tenant_id, ''::text), pattern_key(name), found_by, COALESCE(until, '9223372036854775807'::bigint)) WHERE ((pattern_key(name) IS NOT NULL) AND (found_by <> ''::text) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_halted ON subscriptions (id) WHERE ((until IS NULL) AND ((paused_at IS NOT NULL) OR (disabled_because IS NOT NULL)));
CREATE INDEX subscriptions_listed_by_execution ON subscriptions (execution_id, id) WHERE ((execution_id IS NOT NULL) AND (until IS NULL));
CREATE INDEX subscriptions_listed_by_host ON subscriptions (host_of(kind, address), id) WHERE (kind = 'webhook'::text);
CREATE INDEX subscriptions_listed_by_name ON subscriptions (name, id) WHERE (until IS NULL);
CREATE INDEX subscriptions_listed_by_tenant ON subscriptions (tenant_id, id) WHERE (tenant_id IS NOT NULL);
CREATE INDEX subscriptions_of_business_key ON subscriptions (name, business_key) WHERE ((business_key IS NOT NULL) AND (until IS NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_of_correlation_keys ON subscriptions USING gin (correlation_keys jsonb_path_ops) WITH (fastupdate=off) WHERE ((correlation_keys IS NOT NULL) AND (until IS NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_of_execution ON subscriptions (execution_id, COALESCE(until, '9223372036854775807'::bigint)) WHERE ((execution_id IS NOT NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_of_filter ON subscriptions USING gin (filter_keys(name, tenant_id, filter)) WITH (fastupdate=off) WHERE ((filter_path <> ''::text) AND (until IS NULL) AND (consumed_by IS NULL));
CREATE UNIQUE INDEX subscriptions_of_handlers ON subscriptions (address) WHERE ((kind = 'handler'::text) AND (until IS NULL));
CREATE INDEX subscriptions_of_name ON subscriptions (name, found_by, COALESCE(until, '9223372036854775807'::bigint)) WHERE (consumed_by IS NULL);
CREATE INDEX subscriptions_of_name_in_order ON subscriptions (name, id) WHERE ((filter_path = ''::text) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_of_pattern ON subscriptions (pattern_key(name), found_by, COALESCE(until, '9223372036854775807'::bigint)) WHERE ((pattern_key(name) IS NOT NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_of_pattern_in_order ON subscriptions (pattern_key(name), id) WHERE ((pattern_key(name) IS NOT NULL) AND (filter_path = ''::text) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_of_span ON subscriptions USING gist (filter_range(NULL::text, name, filter)) WHERE (starts_with(found_by, '<'::text) AND (until IS NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_of_tenant ON subscriptions (COALESCE(tenant_id, ''::text), name, found_by, COALESCE(until, '9223372036854775807'::bigint)) WHERE (consumed_by IS NULL);
CREATE INDEX subscriptions_of_tenants_pattern ON subscriptions (COALESCE(tenant_id, ''::text), pattern_key(name), found_by, COALESCE(until, '9223372036854775807'::bigint)) WHERE ((pattern_key(name) IS NOT NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_of_tenants_span ON subscriptions USING gist (filter_range(COALESCE(tenant_id, ''::text), name, filter)) WHERE (starts_with(found_by, '<'::text) AND (until IS NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_ordered ON subscriptions (id) WHERE (ordered AND (until IS NULL));
CREATE INDEX subscriptions_outside_executions ON subscriptions (name, id) WHERE ((execution_id IS NULL) AND (until IS NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_waiting_by_moment ON subscriptions (created_at, id) WHERE ((until IS NULL) AND (consumed_by IS NULL));
CREATE INDEX subscriptions_waiting_by_tenant ON subscriptions (tenant_id, id) WHERE ((until IS NULL) AND (consumed_by IS NULL));
CREATE TRIGGER gate AFTER INSERT ON subscriptions FOR EACH ROW EXECUTE FUNCTION add_gate();
CREATE TRIGGER note_disabled AFTER UPDATE OF disabled_because ON subscriptions FOR EACH ROW WHEN (((old.disabled_because IS NULL) AND (new.disabled_because IS NOT NULL))) EXECUTE FUNCTION note_disabled();
CREATE TRIGGER tell_created AFTER INSERT ON subscriptions FOR EACH ROW WHEN ((NOT new.is_pattern)) EXECUTE FUNCTION tell_correlatable();
CREATE TRIGGER tell_receiving AFTER UPDATE OF name, filter, disabled_because, consumed_by ON subscriptions FOR EACH ROW WHEN (((NOT new.is_pattern) AND (new.until IS NULL) AND (new.consumed_by IS NULL) AND (new.disabled_because IS NULL) AND ((old.consumed_by IS NOT NULL) OR (old.disabled_because IS NOT NULL) OR (old.name <> new.name) OR ((old.filter)::text IS DISTINCT FROM (new.filter)::text)))) EXECUTE FUNCTION tell_correlatable();

-- Messages of the record queue that came again, while they are being handled. What is left here although its
-- recorder is gone may be what ended it.
CREATE TABLE suspects (
    -- The signal's id, or the digest of a message without one.
    key text NOT NULL,
    -- How many recorders began to handle it and did not end.
    begun integer NOT NULL DEFAULT 1,
    -- The recorder that began last.
    holder uuid NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT suspects_pkey PRIMARY KEY (key)
);

-- When a token was last used, as gateways report it every minute. Not in `tokens`, whose changes empty every
-- cache.
CREATE TABLE token_uses (
    token_id bigint NOT NULL,
    used_at timestamptz NOT NULL,
    CONSTRAINT token_uses_pkey PRIMARY KEY (token_id),
    CONSTRAINT token_uses_token_id_fkey FOREIGN KEY (token_id) REFERENCES tokens(id) ON DELETE CASCADE
) WITH (fillfactor=50);

CREATE TABLE tokens (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    digest bytea NOT NULL,
    permissions text[] NOT NULL,
    names text[],
    tenants text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    revoked_at timestamptz,
    -- Patterns of the queues it may deliver to; null: those of its tenants, without tenants all.
    queues text[],
    -- Whether it sees what belongs to no tenant, although it is limited to tenants.
    untenanted boolean NOT NULL DEFAULT true,
    -- From when on it opens nothing; null: never.
    expires_at timestamptz,
    CONSTRAINT tokens_pkey PRIMARY KEY (id),
    CONSTRAINT tokens_digest_key UNIQUE (digest)
);
CREATE TRIGGER access_changed AFTER INSERT OR DELETE OR UPDATE ON tokens FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();

-- The ids of signals that were accepted and are not recorded. The scheduler removes those that were recorded
-- meanwhile.
CREATE TABLE unrecorded_signals (
    -- awaiting: on the way to the recorder; poison: in the dead queue of the record queue; lost: nowhere.
    kind text NOT NULL,
    -- When they had been reported, or were found to be poison or lost.
    since timestamptz NOT NULL,
    numbers int8multirange NOT NULL,
    -- When the scheduler last looked which of them are recorded.
    looked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT unrecorded_signals_pkey PRIMARY KEY (kind, since),
    CONSTRAINT unrecorded_signals_kind_check CHECK ((kind = ANY (ARRAY['awaiting'::text, 'poison'::text, 'lost'::text])))
) WITH (fillfactor=50);

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    password text NOT NULL,
    permissions text[] NOT NULL,
    names text[],
    tenants text[],
    groups text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    -- Patterns of the queues it may deliver to; null: those of its tenants, without tenants all.
    queues text[],
    -- Whether it sees what belongs to no tenant, although it is limited to tenants.
    untenanted boolean NOT NULL DEFAULT true,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_password_check CHECK ((password ~~ '$argon2id$%'::text)),
    CONSTRAINT users_name UNIQUE (name)
);
CREATE TRIGGER access_changed AFTER INSERT OR DELETE OR UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION tell_access_changed();

-- The product's keys, which sign webhooks as v1a (ed25519).
CREATE TABLE webhook_keys (
    id bigint GENERATED ALWAYS AS IDENTITY,
    public_key text NOT NULL,
    -- Sealed, like the secrets of subscriptions.
    private_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When it stops signing; null until it is rotated.
    valid_until timestamptz,
    CONSTRAINT webhook_keys_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX webhook_keys_newest ON webhook_keys ((true)) WHERE (valid_until IS NULL);

CREATE TABLE webhook_permissions (
    subscription_id bigint NOT NULL,
    -- SHA-256 of the origin that asked, a space and the URL, in hexadecimal.
    receiver text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_permissions_pkey PRIMARY KEY (subscription_id, receiver),
    CONSTRAINT webhook_permissions_subscription_id_fkey FOREIGN KEY (subscription_id) REFERENCES subscriptions(id) ON DELETE CASCADE
);

-- Signals that are recorded in chunks, because many subscriptions match. The row of one that is recorded stays
-- as long as the signal.
CREATE TABLE wide_recordings (
    signal_id bigint NOT NULL,
    -- Whether the chunks go through all subscriptions, and not only through those of the name and of patterns that
    -- are found by no filter.
    everything boolean NOT NULL,
    -- The chunks up to this subscription are recorded.
    after_id bigint NOT NULL DEFAULT 0,
    -- Whether there are no more chunks.
    finished boolean NOT NULL DEFAULT false,
    CONSTRAINT wide_recordings_pkey PRIMARY KEY (signal_id)
) WITH (fillfactor=50);
CREATE INDEX wide_recordings_unfinished ON wide_recordings (signal_id) WHERE (NOT finished);

CREATE TABLE transport.bindings (
    source text NOT NULL,
    routing_key text NOT NULL,
    queue text,
    exchange text,
    pattern text NOT NULL GENERATED ALWAYS AS (transport.pattern(routing_key)) STORED,
    CONSTRAINT bindings_check CHECK ((num_nonnulls(queue, exchange) = 1)),
    CONSTRAINT bindings_exchange_fkey FOREIGN KEY (exchange) REFERENCES transport.exchanges(name),
    CONSTRAINT bindings_queue_fkey FOREIGN KEY (queue) REFERENCES transport.queues(name),
    CONSTRAINT bindings_source_fkey FOREIGN KEY (source) REFERENCES transport.exchanges(name)
);
CREATE UNIQUE INDEX bindings_once ON transport.bindings (source, routing_key, COALESCE(queue, ''::text), COALESCE(exchange, ''::text));

CREATE TABLE transport.exchanges (
    name text NOT NULL,
    kind text NOT NULL,
    CONSTRAINT exchanges_pkey PRIMARY KEY (name),
    CONSTRAINT exchanges_kind_check CHECK ((kind = ANY (ARRAY['fanout'::text, 'topic'::text, 'direct'::text])))
);

CREATE TABLE transport.messages (
    queue text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    keys json NOT NULL,
    properties json NOT NULL,
    body bytea NOT NULL,
    returned integer NOT NULL DEFAULT 0,
    owner integer,
    CONSTRAINT messages_pkey PRIMARY KEY (queue, id)
) WITH (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000, autovacuum_vacuum_cost_delay=0);
CREATE INDEX messages_held ON transport.messages (owner) WHERE (owner IS NOT NULL);
CREATE INDEX messages_ready ON transport.messages (queue, id) WHERE (owner IS NULL);

CREATE TABLE transport.queues (
    name text NOT NULL,
    arguments jsonb NOT NULL,
    CONSTRAINT queues_pkey PRIMARY KEY (name)
);

CREATE OR REPLACE FUNCTION add_gate()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO gates (subscription_id) VALUES (NEW.id);
    RETURN NULL;
END $function$;

-- The app whose workers make the attempts of a subscription; empty: any deliverer; $pull: who leases them.
CREATE OR REPLACE FUNCTION app_of(kind text, address text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
RETURN CASE WHEN (kind = 'handler'::text) THEN split_part(address, '/'::text, 1) WHEN ((kind = 'queue'::text) AND (address = 'deliveries.attempt.pull'::text)) THEN '$pull'::text ELSE ''::text END;

-- The tenants that a subscription belongs to; null: to none.
CREATE OR REPLACE FUNCTION belongs_to(tenant_id text, owner_tenants text[])
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE
RETURN CASE WHEN (tenant_id IS NULL) THEN owner_tenants ELSE ARRAY[tenant_id] END;

CREATE OR REPLACE FUNCTION circuit_key(address text)
 RETURNS bytea
 LANGUAGE sql
 STABLE
RETURN sha256(convert_to(address, 'UTF8'::name));

CREATE OR REPLACE FUNCTION circuit_key(subscription_id bigint, address text)
 RETURNS bytea
 LANGUAGE sql
 STABLE
RETURN sha256(convert_to(((subscription_id || ' '::text) || address), 'UTF8'::name));

CREATE OR REPLACE FUNCTION count_deliveries()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n, signal_ids)
            SELECT subscription_id, state, count(*), array_agg(signal_id) FILTER (WHERE state = 'dead')
            FROM new_rows GROUP BY subscription_id, state;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT subscription_id, state, -count(*) FROM old_rows GROUP BY subscription_id, state;
        WHEN 'UPDATE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n, signal_ids)
            SELECT subscription_id, state, sum(n), array_agg(signal_id) FILTER (WHERE happened)
            FROM (
                SELECT signal_id, subscription_id, min(before) AS before, min(after) AS after,
                       max(begun) = 1 AND min(redriven) = max(redriven) AS failed
                FROM (
                    SELECT signal_id, subscription_id, NULL AS before, state AS after, 0 AS begun, redriven FROM new_rows
                    UNION ALL
                    SELECT signal_id, subscription_id, state, NULL, (state = 'pending' AND begun_at IS NOT NULL)::int, redriven
                    FROM old_rows
                ) AS rows
                GROUP BY signal_id, subscription_id HAVING min(before) <> min(after)
            ) AS changed
            CROSS JOIN LATERAL (
                VALUES (before, -1, false),
                       (after, 1, after IN ('delivered', 'dead') OR (after = 'parked' AND failed))
            ) AS counts (state, n, happened)
            GROUP BY subscription_id, state HAVING sum(n) <> 0 OR bool_or(happened);
    END CASE;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('leasable', subscription_id::text)
        FROM new_rows WHERE app = '$pull' AND state = 'pending' AND begun_at IS NULL GROUP BY subscription_id;
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION count_match_chunks()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n, signal_ids)
            SELECT id, 'matched', count(*), array_agg(signal_id) FROM new_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT id, 'matched', -count(*) FROM old_rows, unnest(subscription_ids) AS id GROUP BY id;
    END CASE;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION count_matches()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n, signal_ids)
            SELECT 0, 'recorded', count(*), array_agg(signal_id) FROM new_rows HAVING count(*) > 0
            UNION ALL
            SELECT id, 'matched', count(*), array_agg(signal_id) FROM new_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT 0, 'recorded', -count(*) FROM old_rows HAVING count(*) > 0
            UNION ALL
            SELECT id, 'matched', -count(*) FROM old_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'UPDATE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT id, 'matched', sum(by)
            FROM (
                SELECT n.subscription_ids AS after, o.subscription_ids AS before,
                       n.subscription_ids[1:cardinality(o.subscription_ids)] = o.subscription_ids AS begins_alike
                FROM new_rows n JOIN old_rows o USING (signal_id) OFFSET 0
            ) AS changed
            CROSS JOIN LATERAL (
                SELECT unnest(CASE WHEN begins_alike THEN after[cardinality(before) + 1:] ELSE after END) AS id, 1 AS by
                UNION ALL
                SELECT unnest(CASE WHEN begins_alike THEN '{}' ELSE before END), -1
            ) AS matched
            GROUP BY id HAVING sum(by) <> 0;
    END CASE;
    RETURN NULL;
END $function$;

-- What a filter is found by, null if it is not: how texts are compared with a path of the payload, and the
-- values of which one has to be there. See broker/filters/access.py.
CREATE OR REPLACE FUNCTION filter_access(filter json)
 RETURNS text[]
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT COST 1000
AS $function$
DECLARE
    blanks constant text := E'\t\n\x0b\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff';
    path text;
    given jsonb;
    condition jsonb;
    texts jsonb;
    kind text;
    wanted text[];
    chosen text[];
BEGIN
    IF json_typeof(filter) <> 'object' OR filter::text ~* '\\u(0000|d[89a-f])' THEN
        RETURN NULL;
    END IF;
    FOR path, given IN SELECT * FROM jsonb_each(filter::jsonb) LOOP
        CONTINUE WHEN octet_length(path) > 255 OR (path = 'anyOf' AND jsonb_typeof(given) = 'array');
        FOR condition IN
            SELECT * FROM jsonb_array_elements(CASE jsonb_typeof(given) WHEN 'array' THEN given ELSE jsonb_build_array(given) END)
        LOOP
            CONTINUE WHEN jsonb_typeof(condition) <> 'object'
                OR coalesce(nullif(condition -> 'inverted', 'null'), 'false') <> 'false';
            CASE condition ->> 'operator'
                WHEN 'IN' THEN
                    texts := condition -> 'values';
                    CONTINUE WHEN jsonb_typeof(texts) IS DISTINCT FROM 'array'
                        OR jsonb_path_exists(texts, '$[*] ? (@.type() != "string")');
                    wanted := ARRAY(SELECT DISTINCT btrim(v, blanks) FROM jsonb_array_elements_text(texts) AS v WHERE v <> '');
                    kind := '=';
                WHEN 'NUM_EQ' THEN
                    CONTINUE WHEN jsonb_typeof(condition -> 'value') IS DISTINCT FROM 'string'
                        OR condition ->> 'value' !~ '^(0|-?[1-9][0-9]{0,14})$';
                    wanted := ARRAY[condition ->> 'value'];
                    kind := '#';
                ELSE
                    CONTINUE;
            END CASE;
            IF cardinality(wanted) <= 32 AND (chosen IS NULL OR cardinality(wanted) < cardinality(chosen) - 1) THEN
                chosen := (kind || path) || wanted;
            END IF;
        END LOOP;
    END LOOP;
    RETURN chosen;
END
$function$;

-- A value that a filter wants under a path, of subscriptions of a name, or of patterns with a key: those of one
-- tenant, of those without one (empty), or of all (null).
CREATE OR REPLACE FUNCTION filter_key(tenant text, place text, path text, value text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN hashtextextended(((((((COALESCE(('t'::text || tenant), ''::text) || ''::text) || place) || ''::text) || path) || ''::text) || (value COLLATE "C")), (0)::bigint);

-- The keys of a subscription with a filter: for each value that it wants, in its tenant and in all.
CREATE OR REPLACE FUNCTION filter_keys(name text, tenant_id text, filter json)
 RETURNS bigint[]
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE COST 1000
 SET search_path TO '$user', 'public'
AS $function$
DECLARE
    access text[] := filter_access(filter);
    place text := coalesce(pattern_key(name), name);
    tenant text := coalesce(tenant_id, '');
    keys bigint[] := '{}';
BEGIN
    FOR at IN 2..coalesce(cardinality(access), 0) LOOP
        keys := keys || filter_key(NULL, place, access[1], access[at]) || filter_key(tenant, place, access[1], access[at]);
    END LOOP;
    RETURN keys;
END
$function$;

-- Where something is under a path, beside all that is under others: subscriptions of a name, or of patterns with
-- a key, of one tenant, of those without one (empty), or of all (null). Points are within 1e50 of zero.
CREATE OR REPLACE FUNCTION filter_point(tenant text, place text, path text, point numeric)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO '$user', 'public'
RETURN (((filter_key(tenant, place, path, ''::text))::numeric * '1000000000000000000000000000000000000000000000000000000000000'::numeric) + point);

-- The points between which a subscription with a filter wants something.
CREATE OR REPLACE FUNCTION filter_range(tenant text, name text, filter json)
 RETURNS numrange
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE COST 1000
 SET search_path TO '$user', 'public'
AS $function$
DECLARE
    span text[] := filter_span(filter);
    place text := coalesce(pattern_key(name), name);
BEGIN
    RETURN numrange(
        filter_point(tenant, place, span[1], coalesce(span[2]::numeric, -1e50)),
        filter_point(tenant, place, span[1], coalesce(span[3]::numeric, 1e50)), '[]'
    );
END
$function$;

-- Between what a filter wants something, null if it is not found by that: how texts are compared with a path of
-- the payload, and the lowest and the highest one that may do. See broker/filters/access.py.
CREATE OR REPLACE FUNCTION filter_span(filter json)
 RETURNS text[]
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT COST 1000
AS $function$
DECLARE
    path text;
    given jsonb;
    condition jsonb;
    operator text;
    value text;
    kind text;
    bound numeric;
    kinds text;
    low numeric;
    high numeric;
    chosen text[];
BEGIN
    IF json_typeof(filter) <> 'object' OR filter::text ~* '\\u(0000|d[89a-f])' THEN
        RETURN NULL;
    END IF;
    FOR path, given IN SELECT * FROM jsonb_each(filter::jsonb) LOOP
        CONTINUE WHEN octet_length(path) > 255 OR (path = 'anyOf' AND jsonb_typeof(given) = 'array');
        kinds := NULL;
        low := NULL;
        high := NULL;
        FOR condition IN
            SELECT * FROM jsonb_array_elements(CASE jsonb_typeof(given) WHEN 'array' THEN given ELSE jsonb_build_array(given) END)
        LOOP
            CONTINUE WHEN jsonb_typeof(condition) <> 'object'
                OR coalesce(nullif(condition -> 'inverted', 'null'), 'false') <> 'false'
                OR jsonb_typeof(condition -> 'value') IS DISTINCT FROM 'string';
            operator := condition ->> 'operator';
            value := condition ->> 'value';
            IF operator ~ '^NUM_(EQ|GTE?|LTE?)$' AND value ~ '^-?[0-9]{1,15}(\.[0-9]{1,15})?$'
                AND length(translate(value, '-.', '')) <= 15
            THEN
                kind := '#';
                bound := value::numeric;
            ELSIF operator ~ '^SEMVER_(EQ|GTE?|LTE?)$' AND value ~ '^[0-9]{1,16}\.[0-9]{1,16}\.[0-9]{1,16}([-+]|$)' THEN
                kind := 'v';
                value := substring(value FROM '^[0-9.]+');
                bound := split_part(value, '.', 1)::numeric * 1e32 + split_part(value, '.', 2)::numeric * 1e16
                    + split_part(value, '.', 3)::numeric;
            ELSIF operator IN ('DATE_AFTER', 'DATE_BEFORE')
                AND value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2}))?$'
            THEN
                kind := 't';
                BEGIN
                    bound := extract(epoch FROM (value || CASE length(value) WHEN 10 THEN 'T00:00:00Z' ELSE '' END)::timestamptz);
                EXCEPTION WHEN data_exception THEN
                    CONTINUE;
                END;
            ELSE
                CONTINUE;
            END IF;
            -- Conditions on a path with several values may be met by different ones.
            CONTINUE WHEN kinds IS NOT NULL AND (kinds <> kind OR path LIKE '%[*]%');
            kinds := kind;
            IF operator ~ '_(GTE?|EQ|AFTER)$' THEN
                low := greatest(low, bound);
            END IF;
            IF operator ~ '_(LTE?|EQ|BEFORE)$' THEN
                high := least(high, bound);
            END IF;
        END LOOP;
        CONTINUE WHEN kinds IS NULL;
        IF chosen IS NULL OR (low IS NOT NULL AND high IS NOT NULL AND (chosen[2] IS NULL OR chosen[3] IS NULL)) THEN
            chosen := ARRAY['<' || kinds || path, low::text, greatest(low, high)::text];
            chosen[3] := CASE WHEN high IS NOT NULL THEN chosen[3] END;
        END IF;
    END LOOP;
    RETURN chosen;
END
$function$;

-- The host of a webhook's URL, without its port; null for another target.
CREATE OR REPLACE FUNCTION host_of(kind text, address text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (kind = 'webhook'::text) THEN lower("substring"(address, '^[A-Za-z]+://(?:[^/?#@]*@)?(\[[^]]*\]|[^/:?#]+)'::text)) ELSE NULL::text END;

-- Whether a subscription belongs to a caller of these tenants (null: all) alone.
CREATE OR REPLACE FUNCTION is_owned(tenant_id text, owner_tenants text[], tenants text[], untenanted boolean)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN ((tenants IS NULL) OR CASE WHEN (tenant_id IS NOT NULL) THEN (tenant_id = ANY (tenants)) ELSE COALESCE((untenanted AND (owner_tenants <@ tenants) AND ((owner_tenants <> '{}'::text[]) OR (tenants = '{}'::text[]))), false) END);

-- Whether the regular expression names (null: any) matches the name of a subscription, or patterns holds its
-- pattern.
CREATE OR REPLACE FUNCTION is_permitted(name text, is_pattern boolean, names text, patterns text[])
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN ((names IS NULL) OR CASE WHEN is_pattern THEN (name = ANY (patterns)) ELSE (('.'::text || name) ~ names) END);

-- Whether a signal of a scope is for a subscription, whatever its name and its filter are. See
-- `broker.subscriptions.Subscription.unfit`.
CREATE OR REPLACE FUNCTION is_reached(tenant_id text, execution_id text, owner_tenants text[], owner_untenanted boolean, scope text, of_tenant text, of_execution text, audience text[])
 RETURNS boolean
 LANGUAGE sql
 STABLE
RETURN (CASE scope WHEN 'execution'::text THEN (execution_id = of_execution) WHEN 'tenant'::text THEN (tenant_id = of_tenant) WHEN 'untenanted'::text THEN (tenant_id IS NULL) ELSE true END AND ((audience IS NULL) OR (tenant_id IS NULL) OR (tenant_id = ANY (audience))) AND ((tenant_id IS NOT NULL) OR is_readable(scope, of_tenant, to_json(audience), owner_tenants, owner_untenanted)));

-- Whether a caller of these tenants (null: all) may read a signal.
CREATE OR REPLACE FUNCTION is_readable(scope text, tenant_id text, reach json, tenants text[], untenanted boolean)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN ((tenants IS NULL) OR CASE WHEN (tenant_id IS NOT NULL) THEN (tenant_id = ANY (tenants)) WHEN (json_array_length(reach) > 0) THEN ((reach)::jsonb ?| tenants) ELSE (untenanted OR ((scope = 'broadcast'::text) AND (reach IS NULL))) END);

-- Whether a caller of these tenants (null: all) may see a subscription.
CREATE OR REPLACE FUNCTION is_seen(tenant_id text, owner_tenants text[], tenants text[], untenanted boolean)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN (is_owned(tenant_id, owner_tenants, tenants, untenanted) OR (untenanted AND (tenant_id IS NULL) AND (owner_tenants IS NULL)));

CREATE OR REPLACE FUNCTION note_circuit()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION note_disabled()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM note_event('$broker.subscription.disabled', NEW.id, '', json_build_object('reason', NEW.disabled_because));
    RETURN NULL;
END $function$;

-- Note an event of a subscription, unless it is deleted or is for events itself: none may lead to another.
CREATE OR REPLACE FUNCTION note_event(type text, subscription_id bigint, subject text, details json)
 RETURNS void
 LANGUAGE sql
AS $function$
    INSERT INTO event_notes (type, subscription_id, subject, details)
    SELECT $1, s.id, $3, $4 FROM subscriptions s WHERE s.id = $2 AND s.until IS NULL AND s.name NOT LIKE '$broker.%'
$function$;

-- What a pattern is found by, null for a name: its first words and its last ones, or its first words and another
-- one between its wildcards. A name has few such keys; see broker/names.py.
CREATE OR REPLACE FUNCTION pattern_key(pattern text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT COST 1000
AS $function$
DECLARE
    words text[] := string_to_array(pattern, '.');
    size integer := cardinality(words);
    before integer := 0;
    after integer := 0;
    inner_word text;
BEGIN
    WHILE before < size AND words[before + 1] NOT IN ('*', '#') LOOP
        before := before + 1;
    END LOOP;
    IF before = size THEN
        RETURN NULL;
    END IF;
    WHILE words[size - after] NOT IN ('*', '#') LOOP
        after := after + 1;
    END LOOP;
    inner_word := (array_remove(array_remove(words[before + 1:size - after], '*'), '#'))[1];
    IF inner_word IS NOT NULL THEN
        RETURN array_to_string(words[1:least(before, 2)], '.') || E'\x1f\x1f' || inner_word;
    END IF;
    RETURN array_to_string(words[1:least(before, 8)], '.') || E'\x1f'
        || array_to_string(words[size - least(after, 4) + 1:], '.');
END
$function$;

CREATE OR REPLACE FUNCTION tell_access_changed()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    UPDATE access_changes SET number = number + 1;
    PERFORM pg_notify('access_changed', '');
    RETURN NULL;
END $function$;

-- Tells schedulers that a buffered message of this name may have a receiver now.
CREATE OR REPLACE FUNCTION tell_correlatable()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM pg_notify('correlatable', NEW.name);
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION tell_quotas_changed()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM pg_notify('quotas_changed', '');
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION transport.pattern(routing_key text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
RETURN (SELECT (('^'::text || COALESCE(string_agg(CASE words.word WHEN '*'::text THEN '\.[^.]*'::text WHEN '#'::text THEN '(\.[^.]*)*'::text ELSE ('\.'::text || regexp_replace(words.word, '([][\\^$|?*+(){}])'::text, '\\\1'::text, 'g'::text)) END, ''::text ORDER BY words."position"), ''::text)) || '$'::text) FROM unnest(string_to_array(pattern.routing_key, '.'::text)) WITH ORDINALITY words(word, "position"));

CREATE OR REPLACE FUNCTION transport.route(exchange text, keys json)
 RETURNS SETOF text
 LANGUAGE sql
 STABLE
BEGIN ATOMIC
 WITH RECURSIVE reached(exchange, queue, key) AS (
          SELECT route.exchange AS exchange,
             NULL::text AS "?column?",
             key.value AS key
            FROM json_array_elements_text(route.keys) key(value)
         UNION
          SELECT bound.exchange,
             bound.queue,
             reached_1.key
            FROM ((reached reached_1
              JOIN transport.exchanges source ON ((source.name = reached_1.exchange)))
              JOIN transport.bindings bound ON (((bound.source = source.name) AND
                 CASE source.kind
                     WHEN 'fanout'::text THEN true
                     WHEN 'direct'::text THEN (bound.routing_key = reached_1.key)
                     WHEN 'topic'::text THEN (
                     CASE reached_1.key
                         WHEN ''::text THEN ''::text
                         ELSE ('.'::text || reached_1.key)
                     END ~ bound.pattern)
                     ELSE NULL::boolean
                 END)))
         )
  SELECT DISTINCT reached.queue
    FROM reached
   WHERE (reached.queue IS NOT NULL);
END;
