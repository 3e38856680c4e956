-- Whether any subscription is for events is asked whenever there are some, however many subscriptions there are.

CREATE INDEX CONCURRENTLY subscriptions_to_events ON subscriptions (id) WHERE name LIKE '$broker.%' AND until IS NULL;
