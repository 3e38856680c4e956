-- How targets write signals, and the origin that webhooks ask for permission as ------------------------------------------

ALTER TABLE subscriptions
    ADD COLUMN format         text NOT NULL DEFAULT 'standard',
    ADD COLUMN request_origin text;
COMMENT ON COLUMN subscriptions.format IS
    'How a signal is written: standard, cloudevents-structured or cloudevents-binary. Steps have their own.';
COMMENT ON COLUMN subscriptions.request_origin IS
    'The name that a webhook''s receiver is asked for permission as, before it gets signals; null: it is not asked.';
