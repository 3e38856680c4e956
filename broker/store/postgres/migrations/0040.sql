-- Pull targets: deliveries that wait until a caller leases them ----------------------------------------------------------

CREATE TABLE leases (
    digest bytea PRIMARY KEY,
    signal_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    number integer NOT NULL,
    worker text,
    slot boolean NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    until timestamptz NOT NULL,
    ended text,
    CHECK (ended IN ('acknowledged', 'failed', 'lapsed'))
);
COMMENT ON TABLE leases IS 'Attempts at deliveries to pull targets; those that have ended are kept for a while, so that a repeated request gets the same answer.';
COMMENT ON COLUMN leases.digest IS 'The SHA-256 of the lease token.';
COMMENT ON COLUMN leases.number IS 'The number of the attempt.';
COMMENT ON COLUMN leases.worker IS 'Who leased it, as the caller said.';
COMMENT ON COLUMN leases.slot IS 'Whether it has a concurrency slot.';
COMMENT ON COLUMN leases.ended IS 'How it ended; null while it lasts, or if it has lapsed and that was not noticed so far.';
CREATE INDEX leases_lasting ON leases (until) WHERE ended IS NULL;
CREATE INDEX leases_of_delivery ON leases (signal_id, subscription_id, number);
CREATE INDEX leases_ended ON leases (until) WHERE ended IS NOT NULL;

ALTER TABLE attempts ADD COLUMN worker text;
COMMENT ON COLUMN attempts.worker IS 'Who leased the delivery, if its target is a pull target and the caller said so.';

-- A pull target is stored as a queue that no subscription could have, because processes of the version before know no other
-- kind. Its deliveries belong to an app that no workers can have, so that none of these takes them.
CREATE OR REPLACE FUNCTION app_of(kind text, address text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN kind = 'handler' THEN split_part(address, '/', 1)
            WHEN kind = 'queue' AND address = 'deliveries.attempt.pull' THEN '$pull'
            ELSE '' END;
COMMENT ON FUNCTION app_of IS 'The app whose workers make the attempts of a subscription; empty: any deliverer; $pull: who leases them.';

-- Whatever makes a delivery to a pull target pending tells the gateways, whose callers may be waiting for it.
CREATE OR REPLACE FUNCTION count_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n, signal_ids)
            SELECT subscription_id, state, count(*), array_agg(signal_id) FILTER (WHERE state = 'dead')
            FROM new_rows GROUP BY subscription_id, state;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT subscription_id, state, -count(*) FROM old_rows GROUP BY subscription_id, state;
        WHEN 'UPDATE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n, signal_ids)
            SELECT subscription_id, state, sum(n), array_agg(signal_id) FILTER (WHERE happened)
            FROM (
                SELECT signal_id, subscription_id, min(before) AS before, min(after) AS after,
                       max(begun) = 1 AND min(redriven) = max(redriven) AS failed
                FROM (
                    SELECT signal_id, subscription_id, NULL AS before, state AS after, 0 AS begun, redriven FROM new_rows
                    UNION ALL
                    SELECT signal_id, subscription_id, state, NULL, (state = 'pending' AND begun_at IS NOT NULL)::int, redriven
                    FROM old_rows
                ) AS rows
                GROUP BY signal_id, subscription_id HAVING min(before) <> min(after)
            ) AS changed
            CROSS JOIN LATERAL (
                VALUES (before, -1, false),
                       (after, 1, after IN ('delivered', 'dead') OR (after = 'parked' AND failed))
            ) AS counts (state, n, happened)
            GROUP BY subscription_id, state HAVING sum(n) <> 0 OR bool_or(happened);
    END CASE;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('leasable', subscription_id::text)
        FROM new_rows WHERE app = '$pull' AND state = 'pending' AND begun_at IS NULL GROUP BY subscription_id;
    END IF;
    RETURN NULL;
END $$;
