-- What is leased of a subscription is counted without what waits to be leased.
CREATE INDEX CONCURRENTLY deliveries_leased ON deliveries (subscription_id, signal_id)
    WHERE state = 'pending' AND app = '$pull' AND reason = 'leased';
