-- The oldest deliveries of a subscription that can be leased are found without those that are leased.
CREATE INDEX CONCURRENTLY deliveries_leasable ON deliveries (subscription_id, signal_id)
    WHERE state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased';
