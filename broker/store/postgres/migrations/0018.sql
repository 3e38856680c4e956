-- Messages that may be what ends their recorders ----------------------------------------------------------------

CREATE TABLE suspects (
    key text PRIMARY KEY,
    begun integer NOT NULL DEFAULT 1,
    holder uuid NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE suspects IS 'Messages of the record queue that came again, while they are being handled. What is left '
    'here although its recorder is gone may be what ended it.';
COMMENT ON COLUMN suspects.key IS 'The signal''s id, or the digest of a message without one.';
COMMENT ON COLUMN suspects.begun IS 'How many recorders began to handle it and did not end.';
COMMENT ON COLUMN suspects.holder IS 'The recorder that began last.';
