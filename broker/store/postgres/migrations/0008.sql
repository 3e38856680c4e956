-- Ordered deliveries --------------------------------------------------------------------------------------------

ALTER TABLE subscriptions
    ADD COLUMN ordered      boolean NOT NULL DEFAULT false,
    ADD COLUMN head_of_line text NOT NULL DEFAULT 'block' CHECK (head_of_line IN ('block', 'skip'));
COMMENT ON COLUMN subscriptions.ordered IS 'Whether signals with the same ordering key are delivered one after the other.';
COMMENT ON COLUMN subscriptions.head_of_line IS 'Whether those behind a dead delivery wait for it to be redriven, or go on.';
CREATE INDEX subscriptions_ordered ON subscriptions (id) WHERE ordered AND until IS NULL;

ALTER TABLE deliveries
    ADD COLUMN ordering_key text,
    ADD COLUMN turn         bigint;
COMMENT ON COLUMN deliveries.ordering_key IS
    'Of an ordered subscription only: its deliveries with the same key are a line, of which one at a time goes.';
COMMENT ON COLUMN deliveries.turn IS
    'Its place in the line; null: a signal that may come before it is not recorded yet, or its moment has not come.';

CREATE SEQUENCE turns AS bigint CACHE 1;
COMMENT ON SEQUENCE turns IS 'A signal has the same turn in every line; turns of a key are taken under the lock of the key.';

CREATE INDEX deliveries_in_line ON deliveries (subscription_id, ordering_key, turn)
    WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered';
CREATE INDEX deliveries_without_turn ON deliveries (ordering_key, signal_id)
    WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered' AND turn IS NULL;
CREATE INDEX deliveries_at_head ON deliveries (subscription_id, ordering_key)
    WHERE ordering_key IS NOT NULL AND (state = 'pending' OR (state = 'parked' AND reason NOT IN ('ordered', 'scheduled')));
CREATE INDEX deliveries_dead_in_line ON deliveries (subscription_id, ordering_key, turn)
    WHERE ordering_key IS NOT NULL AND state = 'dead';

CREATE TABLE expected_signals (
    signal_id    bigint PRIMARY KEY,
    ordering_key text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE expected_signals IS
    'Signals with an ordering key whose throw was answered, and which are not recorded yet: those that were thrown later wait for them.';
CREATE INDEX expected_signals_by_key ON expected_signals (ordering_key, signal_id);
CREATE INDEX expected_signals_by_age ON expected_signals (created_at);
