-- Targets that are tried with made signals -----------------------------------------------------------------------------

CREATE TABLE samples (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id bigint NOT NULL,
    app text NOT NULL,
    payload text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    taken_at timestamptz,
    answer json
);
COMMENT ON TABLE samples IS 'Targets that are to be tried with made signals; a row goes with its answer.';
COMMENT ON COLUMN samples.app IS 'Whose workers are to make the attempt; empty: any deliverer.';
