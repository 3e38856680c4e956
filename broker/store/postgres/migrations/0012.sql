-- The books of the intake: which of the accepted signals are recorded ---------------------------------------------

CREATE TABLE acceptance_reports (
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    numbers int8multirange NOT NULL
);
COMMENT ON TABLE acceptance_reports IS
    'The ids of signals whose throws were answered, as gateways report them every second. The scheduler moves them to unrecorded_signals.';

CREATE TABLE unrecorded_signals (
    kind text NOT NULL CHECK (kind IN ('awaiting', 'poison', 'lost')),
    since timestamptz NOT NULL,
    numbers int8multirange NOT NULL,
    looked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, since)
) WITH (fillfactor = 50);
COMMENT ON TABLE unrecorded_signals IS
    'The ids of signals that were accepted and are not recorded. The scheduler removes those that were recorded meanwhile.';
COMMENT ON COLUMN unrecorded_signals.kind IS
    'awaiting: on the way to the recorder; poison: in the dead queue of the record queue; lost: nowhere.';
COMMENT ON COLUMN unrecorded_signals.since IS 'When they had been reported, or were found to be poison or lost.';
COMMENT ON COLUMN unrecorded_signals.looked_at IS 'When the scheduler last looked which of them are recorded.';

CREATE TABLE recorders (
    name text NOT NULL PRIMARY KEY,
    held integer NOT NULL,
    stuck boolean NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE recorders IS 'What each running recorder holds of the record queue, reported every second.';
COMMENT ON COLUMN recorders.held IS 'The number of messages that it was handed out and has not settled.';
COMMENT ON COLUMN recorders.stuck IS 'Whether it has held the oldest of them for long.';

-- Later signals wait for these until they are recorded, or found to be lost.
INSERT INTO acceptance_reports (numbers)
SELECT range_agg(int8range(signal_id, signal_id + 1)) FROM expected_signals HAVING count(*) > 0;
