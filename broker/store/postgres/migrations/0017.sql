-- Which deliverers are there, and which attempts they make ------------------------------------------------------

CREATE TABLE deliverers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE deliverers IS 'Processes that make attempts. Each shows that it is there by its seen_at.';

ALTER TABLE deliveries ADD COLUMN begun_by bigint;
COMMENT ON COLUMN deliveries.begun_by IS 'The deliverer that began the last attempt; null: one of an earlier version.';
