-- What an attempt exchanged with its receiver, and attempts that were interrupted ----------------------------------

ALTER TABLE attempts ADD COLUMN exchanges bytea, ADD COLUMN interrupted boolean;
COMMENT ON COLUMN attempts.exchanges IS
    'What was exchanged with the webhook, or with that of each step, packed by broker.store.exchanges.py.';
COMMENT ON COLUMN attempts.interrupted IS
    'Whether its deliverer was lost before it stored an outcome; true until then, if it notes its steps. The outcome is failed then, and the duration 0: the version before knows no other.';

ALTER TABLE deliveries ADD COLUMN begun_at timestamptz;
COMMENT ON COLUMN deliveries.begun_at IS 'Since when the last attempt has been under way; null once it has ended, or is known to be interrupted.';
COMMENT ON COLUMN deliveries.redriven IS
    'The number of attempts that the schedule does not count: those before the last redrive, and interrupted ones after it.';
