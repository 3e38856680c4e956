-- The administration of signal endpoints ------------------------------------------------------------------------

ALTER TABLE endpoints ADD COLUMN created_by_user_id bigint;
ALTER TABLE endpoint_tokens ADD COLUMN created_by_user_id bigint;

CREATE TABLE audit_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    type       text NOT NULL,
    subject_id bigint NOT NULL,
    principal  text NOT NULL,
    user_id    bigint,
    token_id   bigint,
    before     json,
    after      json
);
COMMENT ON TABLE audit_events IS 'Who changed what of the administration; written in the transaction of the change.';
COMMENT ON COLUMN audit_events.subject_id IS 'The id of what was changed; `type` tells of which table.';
COMMENT ON COLUMN audit_events.before IS 'The subject before the change, without secrets; null: it was created.';
COMMENT ON COLUMN audit_events.after IS 'The subject after the change, without secrets; null: it was deleted.';
CREATE INDEX audit_events_by_type ON audit_events (type, id);

-- What came in by signal endpoints, newest first. The name and the time are in the index, so that a page is found and
-- an offset skipped without the rows.
CREATE INDEX signals_from_endpoints ON signals (id) INCLUDE (name, created_at) WHERE source = 'signal-endpoint';

CREATE TABLE endpoint_days (
    name     text NOT NULL,
    day      date NOT NULL,
    signals  bigint NOT NULL,
    first_id bigint NOT NULL,
    last_id  bigint NOT NULL,
    PRIMARY KEY (name, day)
) WITH (fillfactor = 50);
COMMENT ON TABLE endpoint_days IS
    'How many signals of a name came in by signal endpoints on a day (UTC), and between which ids: their total, without counting them.';

INSERT INTO endpoint_days (name, day, signals, first_id, last_id)
SELECT name, (created_at AT TIME ZONE 'UTC')::date, count(*), min(id), max(id)
FROM signals WHERE source = 'signal-endpoint' GROUP BY 1, 2;
