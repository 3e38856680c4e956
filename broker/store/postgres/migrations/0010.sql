-- Redriving in bulk, and replaying --------------------------------------------------------------------------------

CREATE INDEX deliveries_dead_by_subscription ON deliveries (subscription_id, signal_id) WHERE state = 'dead';

COMMENT ON TABLE matches IS
    'What was owed when a signal was recorded, for every one of them, and when it was replayed. Written beside the deliveries and not from them, so that the ledger can fail.';
