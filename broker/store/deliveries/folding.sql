-- The changes of the ledger, and the statistics that are made from them; see docs/decisions/0037-statistics.md.

-- name: fold
-- Take up to :limit changes, with about :most_signals signals; any number of schedulers may do this at once. Add them up to the
-- ledger's tallies, those of each subscription and those of all (0), and to the statistics of the minutes in which they
-- happened. An hour that `add_up` is done with gets what comes late from here. Return how many changes were found; none while an
-- hour is added up.
-- In a minute, or an hour, there is room for :most tenants, names and pairs of them, and for :most_detailed names with their
-- subscriptions. The others are added up under U+001F; those with deliveries stay apart by subscription. A signal that was
-- dropped meanwhile is of no known name.
-- Deaths are noted as events from here: the outcome of an attempt costs nothing more, and a note is for all of a subscription.
WITH progress AS MATERIALIZED (
    SELECT added_up_until FROM statistics_progress FOR SHARE SKIP LOCKED
), looked AS MATERIALIZED (
    SELECT ctid AS place, coalesce(cardinality(signal_ids), 0) AS size FROM ledger_deltas
    WHERE EXISTS (SELECT FROM progress) LIMIT :limit FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM ledger_deltas
    WHERE ctid = ANY (ARRAY(
        SELECT place FROM (SELECT place, size, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS upto FROM looked) AS sized
        WHERE upto - size < :most_signals::bigint
    ))
    RETURNING subscription_id, counted, n, at, signal_ids
), tallied AS (
    INSERT INTO ledger_tallies AS known (subscription_id, counted, n)
    SELECT subscription_id, counted, sum(n)
    FROM (
        SELECT subscription_id, counted, n FROM taken WHERE subscription_id <> 0
        UNION ALL
        SELECT 0, counted, n FROM taken
    ) AS counts
    GROUP BY subscription_id, counted
    ORDER BY subscription_id, counted
    ON CONFLICT (subscription_id, counted) DO UPDATE SET n = known.n + EXCLUDED.n
), mourned AS (
    INSERT INTO event_notes (type, subscription_id, at, n, details)
    SELECT '$broker.delivery.dead', s.id, max(t.at), sum(cardinality(t.signal_ids)),
           json_build_object('signalId', (array_agg(t.signal_ids[cardinality(t.signal_ids)] ORDER BY t.at DESC))[1])
    FROM taken t JOIN subscriptions s ON s.id = t.subscription_id
    WHERE t.counted = 'dead' AND t.signal_ids IS NOT NULL AND s.name NOT LIKE '$broker.%' GROUP BY s.id
), happened AS MATERIALIZED (
    SELECT t.subscription_id, t.counted, t.at, s.id AS signal_id FROM taken t, unnest(t.signal_ids) AS s (id)
), known AS MATERIALIZED (
    SELECT k.signal_id, g.* FROM (SELECT DISTINCT signal_id FROM happened) AS k LEFT JOIN LATERAL (
        SELECT name, coalesce(tenant_id, '') AS tenant, created_at, greatest(created_at, deliver_at) AS moment
        FROM signals WHERE id = k.signal_id OFFSET 0
    ) AS g ON true
), told AS MATERIALIZED (
    SELECT h.subscription_id, h.counted, h.at, coalesce(k.created_at, h.at) AS accepted_at,
           coalesce(k.tenant, '') AS tenant, coalesce(k.name, E'\x1f') AS name,
           CASE WHEN h.counted = 'delivered' AND k.moment IS NOT NULL THEN greatest(
               0, ceil(ln(greatest(0.001, extract(epoch FROM h.at - k.moment)::float8) * 1000) / ln(1.1::float8))
           )::int END AS class
    FROM happened h JOIN known k ON k.signal_id = h.signal_id
), events AS (
    SELECT subscription_id, tenant, name, 'accepted' AS event, date_bin('1 minute', accepted_at, '2000-01-01Z') AS at,
           NULL::int AS class, count(*) AS n
    FROM told WHERE counted IN ('recorded', 'matched') GROUP BY 1, 2, 3, 4, 5
    UNION ALL
    SELECT subscription_id, tenant, name, CASE counted WHEN 'matched' THEN 'recorded' ELSE counted END,
           date_bin('1 minute', at, '2000-01-01Z'), class, count(*)
    FROM told GROUP BY 1, 2, 3, 4, 5, 6
), spread AS MATERIALIZED (
    SELECT p.seconds, k.kind, k.subscription_id, k.tenant, k.name, p.at, e.class,
           coalesce(sum(e.n) FILTER (WHERE event = 'accepted'), 0) AS accepted,
           coalesce(sum(e.n) FILTER (WHERE event = 'recorded'), 0) AS recorded,
           coalesce(sum(e.n) FILTER (WHERE event = 'delivered'), 0) AS delivered,
           coalesce(sum(e.n) FILTER (WHERE event = 'dead'), 0) AS dead,
           coalesce(sum(e.n) FILTER (WHERE event = 'parked'), 0) AS retried
    FROM events e LEFT JOIN subscriptions s ON s.id = e.subscription_id CROSS JOIN progress CROSS JOIN LATERAL (
        VALUES (60, e.at), (3600, CASE WHEN e.at < added_up_until THEN date_bin('1 hour', e.at, '2000-01-01Z') END)
    ) AS p (seconds, at) CROSS JOIN LATERAL (
        VALUES ('all', 0, '', ''), ('name', 0, '', e.name),
               ('tenant', 0, CASE e.subscription_id WHEN 0 THEN e.tenant ELSE coalesce(s.tenant_id, '') END, ''),
               ('signals', 0, e.tenant, e.name), ('subscription', e.subscription_id, '', e.name)
    ) AS k (kind, subscription_id, tenant, name)
    WHERE p.at IS NOT NULL AND CASE
        WHEN e.subscription_id = 0 THEN k.kind <> 'subscription'
        WHEN event IN ('accepted', 'recorded') THEN k.kind = 'subscription'
        ELSE k.kind <> 'signals'
    END
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), fresh AS MATERIALIZED (
    SELECT k.*, row_number() OVER (PARTITION BY seconds, kind, at ORDER BY subscription_id, tenant, name) AS number
    FROM (SELECT DISTINCT seconds, kind, subscription_id, tenant, name, at FROM spread WHERE kind <> 'all') AS k
    WHERE NOT EXISTS (
        SELECT FROM statistics s
        WHERE s.seconds = k.seconds AND s.kind = k.kind AND s.subscription_id = k.subscription_id
          AND s.tenant = k.tenant AND s.name = k.name AND s.at = k.at OFFSET 0
    )
), there AS MATERIALIZED (
    SELECT g.*, (
        SELECT count(*) FROM (
            SELECT FROM statistics s WHERE s.seconds = g.seconds AND s.kind = g.kind AND s.at = g.at
            LIMIT greatest(:most::bigint, :most_detailed::bigint)
        ) AS counted
    ) AS n
    FROM (SELECT DISTINCT seconds, kind, at FROM fresh) AS g
), surplus AS MATERIALIZED (
    SELECT f.* FROM fresh f JOIN there USING (seconds, kind, at)
    WHERE there.n + f.number > CASE kind WHEN 'subscription' THEN :most_detailed::bigint ELSE :most::bigint END
), fitted AS (
    SELECT s.seconds, s.kind, s.subscription_id, s.at, s.class,
           CASE WHEN u.kind IN ('tenant', 'signals') THEN E'\x1f' ELSE s.tenant END AS tenant,
           CASE WHEN u.kind IN ('name', 'signals', 'subscription') THEN E'\x1f' ELSE s.name END AS name,
           sum(s.accepted) AS accepted, sum(s.recorded) AS recorded, sum(s.delivered) AS delivered,
           sum(s.dead) AS dead, sum(s.retried) AS retried
    FROM spread s LEFT JOIN surplus u USING (seconds, kind, subscription_id, tenant, name, at)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), entered AS (
    INSERT INTO statistics AS old (seconds, kind, subscription_id, tenant, name, at, accepted, recorded, delivered, dead, retried,
                                   latency_classes, latency_counts)
    SELECT seconds, kind, subscription_id, tenant, name, at, sum(accepted), sum(recorded), sum(delivered), sum(dead), sum(retried),
           array_agg(class ORDER BY class) FILTER (WHERE class IS NOT NULL),
           array_agg(delivered::bigint ORDER BY class) FILTER (WHERE class IS NOT NULL)
    FROM fitted GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (seconds, kind, subscription_id, tenant, name, at) DO UPDATE SET
        accepted = old.accepted + EXCLUDED.accepted, recorded = old.recorded + EXCLUDED.recorded,
        delivered = old.delivered + EXCLUDED.delivered, dead = old.dead + EXCLUDED.dead, retried = old.retried + EXCLUDED.retried,
        (latency_classes, latency_counts) = (
            SELECT array_agg(class ORDER BY class), array_agg(n ORDER BY class) FROM (
                SELECT class, sum(n)::bigint AS n FROM (
                    SELECT * FROM unnest(old.latency_classes, old.latency_counts)
                    UNION ALL
                    SELECT * FROM unnest(EXCLUDED.latency_classes, EXCLUDED.latency_counts)
                ) AS both_of (class, n) GROUP BY class
            ) AS merged
        )
)
SELECT count(*) FROM looked;

-- name: begin_adding
-- The hour that is to be added up next, if it has been over for five minutes; nothing is folded until the transaction ends.
SELECT added_up_until AS hour FROM statistics_progress
WHERE added_up_until <= now() - interval '65 minutes' FOR UPDATE;

-- name: add_up
-- Add the minutes of an hour up. Of each kind there is room for :most rows, and for :most_detailed names with their
-- subscriptions; what happened least is added up as in `fold`.
WITH minutes AS MATERIALIZED (
    SELECT * FROM statistics
    WHERE seconds = 60 AND kind IN ('all', 'tenant', 'name', 'signals', 'subscription')
      AND at >= :hour::timestamptz AND at < :hour::timestamptz + interval '1 hour'
), ranked AS (
    SELECT kind, subscription_id, tenant, name,
           row_number() OVER (PARTITION BY kind ORDER BY sum(accepted + delivered + dead + retried) DESC, subscription_id, tenant, name)
               > CASE kind WHEN 'subscription' THEN :most_detailed::bigint ELSE :most::bigint END AS surplus
    FROM minutes GROUP BY kind, subscription_id, tenant, name
), fitted AS MATERIALIZED (
    SELECT m.kind, m.subscription_id,
           CASE WHEN r.surplus AND kind IN ('tenant', 'signals') THEN E'\x1f' ELSE m.tenant END AS tenant,
           CASE WHEN r.surplus AND kind IN ('name', 'signals', 'subscription') THEN E'\x1f' ELSE m.name END AS name,
           accepted, recorded, delivered, dead, retried, latency_classes, latency_counts
    FROM minutes m JOIN ranked r USING (kind, subscription_id, tenant, name)
), latencies AS (
    SELECT kind, subscription_id, tenant, name, array_agg(class ORDER BY class) AS classes, array_agg(n ORDER BY class) AS counts
    FROM (
        SELECT kind, subscription_id, tenant, name, class, sum(n)::bigint AS n
        FROM fitted, unnest(latency_classes, latency_counts) AS l (class, n) GROUP BY 1, 2, 3, 4, 5
    ) AS merged
    GROUP BY 1, 2, 3, 4
)
INSERT INTO statistics (seconds, kind, subscription_id, tenant, name, at, accepted, recorded, delivered, dead, retried,
                        latency_classes, latency_counts)
SELECT 3600, kind, subscription_id, tenant, name, :hour::timestamptz,
       f.accepted, f.recorded, f.delivered, f.dead, f.retried, l.classes, l.counts
FROM (
    SELECT kind, subscription_id, tenant, name, sum(accepted) AS accepted, sum(recorded) AS recorded, sum(delivered) AS delivered,
           sum(dead) AS dead, sum(retried) AS retried
    FROM fitted GROUP BY 1, 2, 3, 4
) AS f LEFT JOIN latencies l USING (kind, subscription_id, tenant, name);

-- name: end_adding
UPDATE statistics_progress SET added_up_until = added_up_until + interval '1 hour';

-- name: forget
-- Delete up to :limit rows: minutes that are older than :minutes_kept seconds and added up, and hours older than :hours_kept
-- seconds (null: none). Return how many.
WITH old AS (
    (SELECT s.ctid FROM statistics s, statistics_progress
     WHERE seconds = 60 AND kind = ANY (:kinds::text[])
       AND at < least(now() - make_interval(secs => :minutes_kept), added_up_until)
     LIMIT :limit)
    UNION ALL
    (SELECT ctid FROM statistics
     WHERE seconds = 3600 AND kind = ANY (:kinds) AND at < now() - make_interval(secs => :hours_kept) LIMIT :limit)
), gone AS (
    DELETE FROM statistics WHERE ctid = ANY (ARRAY(SELECT ctid FROM old LIMIT :limit)) RETURNING 1
)
SELECT count(*) FROM gone;
