-- Statistics: what happened in each minute and hour, added up from the changes of the ledger -----------------------------

ALTER TABLE ledger_deltas
    ADD COLUMN at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN signal_ids bigint[];
COMMENT ON COLUMN ledger_deltas.signal_ids IS 'The signals that something happened to which the statistics count: they were recorded '
    '(recorded, matched), or a delivery of theirs was delivered, died, or had an attempt that failed and is repeated (parked).';

CREATE TABLE statistics (
    seconds integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    subscription_id bigint NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    accepted bigint NOT NULL,
    recorded bigint NOT NULL,
    delivered bigint NOT NULL,
    dead bigint NOT NULL,
    retried bigint NOT NULL,
    latency_classes integer[],
    latency_counts bigint[],
    PRIMARY KEY (seconds, kind, subscription_id, tenant, name, at),
    CHECK (kind IN ('all', 'tenant', 'name', 'signals', 'subscription'))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX statistics_by_moment ON statistics (seconds, kind, at);
COMMENT ON TABLE statistics IS 'What happened in a minute or in an hour: in all, of a tenant, of a name, to signals of a tenant and a name, '
    'and to deliveries of a subscription and a name. What a row is not about is 0 or empty; a tenant or a name of U+001F '
    'stands for those for which there was no room.';
COMMENT ON COLUMN statistics.seconds IS '60 or 3600.';
COMMENT ON COLUMN statistics.tenant IS 'The tenant of the signals (accepted, recorded), or that of the subscriptions; empty: none.';
COMMENT ON COLUMN statistics.accepted IS 'By the moment of the throw; of a subscription: what is owed to it.';
COMMENT ON COLUMN statistics.latency_classes IS 'Which classes of latencies the delivered ones are in: class n ends at 1.1^n ms.';
COMMENT ON COLUMN statistics.latency_counts IS 'How many are in each of them.';

CREATE TABLE statistics_progress (
    id integer PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    added_up_until timestamptz NOT NULL
);
COMMENT ON TABLE statistics_progress IS 'How far the minutes are added up to hours. What happened before is entered in both.';
INSERT INTO statistics_progress (added_up_until) VALUES (date_bin('1 hour', now(), '2000-01-01 00:00:00+00'));

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
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION count_matches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n, signal_ids)
            SELECT 0, 'recorded', count(*), array_agg(signal_id) FROM new_rows HAVING count(*) > 0
            UNION ALL
            SELECT id, 'matched', count(*), array_agg(signal_id) FROM new_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT 0, 'recorded', -count(*) FROM old_rows HAVING count(*) > 0
            UNION ALL
            SELECT id, 'matched', -count(*) FROM old_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'UPDATE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT id, 'matched', sum(by)
            FROM (
                SELECT n.subscription_ids AS after, o.subscription_ids AS before,
                       n.subscription_ids[1:cardinality(o.subscription_ids)] = o.subscription_ids AS begins_alike
                FROM new_rows n JOIN old_rows o USING (signal_id) OFFSET 0
            ) AS changed
            CROSS JOIN LATERAL (
                SELECT unnest(CASE WHEN begins_alike THEN after[cardinality(before) + 1:] ELSE after END) AS id, 1 AS by
                UNION ALL
                SELECT unnest(CASE WHEN begins_alike THEN '{}' ELSE before END), -1
            ) AS matched
            GROUP BY id HAVING sum(by) <> 0;
    END CASE;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION count_match_chunks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n, signal_ids)
            SELECT id, 'matched', count(*), array_agg(signal_id) FROM new_rows, unnest(subscription_ids) AS id GROUP BY id;
        WHEN 'DELETE' THEN
            INSERT INTO ledger_deltas (subscription_id, counted, n)
            SELECT id, 'matched', -count(*) FROM old_rows, unnest(subscription_ids) AS id GROUP BY id;
    END CASE;
    RETURN NULL;
END $$;
