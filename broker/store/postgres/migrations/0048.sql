-- A page of pending deliveries is found without the others that can be leased.
CREATE INDEX CONCURRENTLY deliveries_leasable_in_order ON deliveries (signal_id, subscription_id)
    WHERE state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased';
