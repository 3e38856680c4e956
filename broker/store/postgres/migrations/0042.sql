-- What messages are correlated with a subscription by.
ALTER TABLE subscriptions ADD COLUMN business_key text, ADD COLUMN correlation_keys jsonb;
COMMENT ON COLUMN subscriptions.business_key IS 'The business key of the execution that waits, which messages may name.';
COMMENT ON COLUMN subscriptions.correlation_keys IS 'What messages may name besides: an object of texts, numbers, truth values and nulls.';
