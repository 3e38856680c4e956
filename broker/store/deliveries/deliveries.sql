-- deliveries and attempts are partitioned by signal_id (see blocks.sql). Two idioms keep look-ups by key fast, whatever the
-- planner believes of a block that has just begun: `signal_id >= ` the lowest one asked for leaves older blocks out of the
-- plan, and `state IS NOT DISTINCT FROM` keeps it from walking through the index of all that is pending.

-- name: claim
-- Begin attempts: $1 signals in ascending order, $2 subscriptions, $3 attempt numbers, $4 whether the message was handed out before,
-- $5 the deliverer's timeout and $6 the grace, both in seconds. Returned are those that are still due; a message that was
-- handed out before may begin its attempt again, because whoever began it is gone. Where a gate may have a say (a limit, a
-- pause, a target that failed), nothing is begun unless $7: it let the delivery pass. What has expired is cancelled instead.
WITH asked AS (
    SELECT c.*, g AS signal, g.expires_at IS NOT NULL AND g.expires_at <= now() AS expired
    FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::boolean[]) AS c (signal_id, subscription_id, attempt, again)
    JOIN signals g ON g.id = c.signal_id
), expired AS (
    UPDATE deliveries d SET state = 'cancelled', due_at = NULL, finished_at = now(), reason = 'expired'
    FROM asked c
    WHERE c.expired AND d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id
      AND d.signal_id >= ($1::bigint[])[1] AND d.state IS NOT DISTINCT FROM 'pending'
      AND (d.attempts = c.attempt - 1 OR (c.again AND d.attempts = c.attempt))
    RETURNING d.signal_id, d.subscription_id
), left_places AS (
    DELETE FROM places p USING expired e WHERE p.subscription_id = e.subscription_id AND p.signal_id = e.signal_id
), claimed AS (
    UPDATE deliveries d
    SET attempts = c.attempt,
        due_at = now() + make_interval(
            secs => coalesce(s.timeout, $5) * coalesce(json_array_length(s.steps), 1) + $6
        ),
        reason = NULL
    FROM asked c, subscriptions s
    WHERE NOT c.expired AND d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND s.id = c.subscription_id
      AND d.signal_id >= ($1::bigint[])[1] AND d.state IS NOT DISTINCT FROM 'pending'
      AND (d.attempts = c.attempt - 1 OR (c.again AND d.attempts = c.attempt))
      AND ($7::boolean OR (
          s.max_in_flight IS NULL AND s.max_per_second IS NULL AND s.paused_at IS NULL AND s.disabled_because IS NULL
          AND NOT EXISTS (SELECT FROM circuits WHERE key = circuit_key(s.address))
          AND (s.steps IS NULL OR NOT EXISTS (SELECT FROM circuits))
      ))
    RETURNING d.signal_id, d.subscription_id, d.attempts, d.redriven, d.steps_done, d.ordering_key, d.created_at AS owed_at,
              c.signal
)
SELECT c.*, s AS subscription,
       CASE WHEN s.previous_secret_until > now() THEN s.previous_secret END AS previous_secret,
       (SELECT array_agg(k.private_key ORDER BY k.id DESC) FROM webhook_keys k
        WHERE k.valid_until IS NULL OR k.valid_until > now()) AS signing_keys
FROM claimed c
JOIN subscriptions s ON s.id = c.subscription_id;

-- name: finish
-- End attempts, in ascending order of signals: the deliveries' new states, and one row an attempt. An attempt that was
-- overtaken changes nothing, and is not even noted if its signal was dropped meanwhile.
WITH ended AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::text[], $5::double precision[], $6::timestamptz[],
                         $7::double precision[], $8::text[], $9::int[], $10::text[], $11::text[], $12::text[], $13::int[], $14::json[])
        AS e (signal_id, subscription_id, number, state, pause, started_at, duration, outcome, status, error, excerpt, reason,
              steps_done, steps)
), settled AS (
    UPDATE deliveries d
    SET state = e.state,
        due_at = CASE WHEN e.state = 'parked' THEN now() + make_interval(secs => e.pause) END,
        reason = e.reason,
        steps_done = e.steps_done,
        finished_at = CASE WHEN e.state = 'parked' THEN NULL ELSE now() END
    FROM ended e
    WHERE d.signal_id = e.signal_id AND d.subscription_id = e.subscription_id
      AND d.signal_id >= ($1::bigint[])[1] AND d.attempts = e.number AND d.state IS NOT DISTINCT FROM 'pending'
)
INSERT INTO attempts (signal_id, subscription_id, number, started_at, duration, outcome, status, error, excerpt, steps)
SELECT signal_id, subscription_id, number, started_at, duration, outcome, status, error, excerpt, steps FROM ended
WHERE EXISTS (SELECT FROM blocks WHERE ended.signal_id >= first_id AND ended.signal_id < next_id)
ON CONFLICT DO NOTHING;

-- name: cancel
-- Cancel deliveries of subscriptions that were deleted after the signals were recorded.
UPDATE deliveries d
SET state = 'cancelled', due_at = NULL, finished_at = now(), reason = 'the subscription was deleted'
FROM unnest($1::bigint[], $2::bigint[]) AS c (signal_id, subscription_id)
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state IN ('pending', 'parked');

-- name: release
-- Put deliveries whose pause is over back to pending; any number of schedulers may do this at once. $1: at most so many,
-- $2: seconds after which they are looked after. For those that get into a line at their signal's moment see lines.sql.
WITH due AS (
    SELECT signal_id, subscription_id FROM deliveries
    WHERE state = 'parked' AND due_at <= now() AND (ordering_key IS NULL OR reason <> 'scheduled')
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET state = 'pending', due_at = now() + make_interval(secs => $2)
FROM due WHERE d.signal_id = due.signal_id AND d.subscription_id = due.subscription_id
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app;

-- name: overdue
-- How many pending deliveries should have been attempted by now (counted up to $1), of each app that has any ('': of none).
SELECT apps.app, o.n
FROM (SELECT '' AS app UNION SELECT split_part(address, '/', 1) FROM subscriptions WHERE kind = 'handler') AS apps
CROSS JOIN LATERAL (
    SELECT count(*) AS n
    FROM (SELECT FROM deliveries d WHERE d.app = apps.app AND d.state = 'pending' AND d.due_at <= now() LIMIT $1) AS found
) AS o
WHERE o.n > 0;

-- name: late
-- How many parked deliveries should have been put back to pending $1 seconds ago.
SELECT count(*) FROM deliveries WHERE state = 'parked' AND due_at <= now() - make_interval(secs => $1);

-- name: repair
-- Take pending deliveries of the app $3 that should have been attempted by now: their messages are given up for lost.
WITH lost AS (
    SELECT signal_id, subscription_id FROM deliveries
    WHERE app = $3 AND state = 'pending' AND due_at <= now()
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET due_at = now() + make_interval(secs => $2)
FROM lost WHERE d.signal_id = lost.signal_id AND d.subscription_id = lost.subscription_id
RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app;

-- name: get
-- A delivery, the signal's name, the subscription's tenant, and as a clause why another attempt would not be made, if so.
SELECT d.*, s.tenant_id, g.name,
       CASE WHEN s.until IS NOT NULL THEN 'the subscription was deleted'
            WHEN s.disabled_because IS NOT NULL THEN 'the subscription is disabled, and has to be resumed first'
            WHEN g.expires_at <= now() THEN 'the signal has expired'
       END AS hopeless
FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id JOIN signals g ON g.id = d.signal_id
WHERE d.signal_id = $1 AND d.subscription_id = $2;

-- name: attempts
SELECT * FROM attempts WHERE signal_id = $1 AND subscription_id = $2 ORDER BY number;

-- name: list
-- A page of deliveries after ($1, $2). Null filters are no filters; $6: the tenants the caller sees; of signals up to $7;
-- $8: a regular expression over their names (see `broker.names.expression`); accepted at $9 or later and before $10; $11: the
-- outcome of the last attempt.
SELECT d.*, s.tenant_id FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id
WHERE (d.signal_id, d.subscription_id) > ($1, $2)
  AND ($3::text IS NULL OR d.state = $3)
  AND ($4::bigint IS NULL OR d.subscription_id = $4)
  AND ($5::bigint IS NULL OR d.signal_id = $5)
  AND ($6::text[] IS NULL OR s.tenant_id IS NULL OR s.tenant_id = ANY ($6))
  AND ($7::bigint IS NULL OR d.signal_id <= $7)
  AND (($8::text IS NULL AND $9::timestamptz IS NULL AND $10::timestamptz IS NULL) OR EXISTS (
      SELECT FROM signals g
      WHERE g.id = d.signal_id
        AND ($8::text IS NULL OR '.' || g.name ~ $8)
        AND ($9::timestamptz IS NULL OR g.created_at >= $9)
        AND ($10::timestamptz IS NULL OR g.created_at < $10)
      OFFSET 0
  ))
  AND ($11::text IS NULL OR $11 = (
      SELECT outcome FROM attempts a
      WHERE a.signal_id = d.signal_id AND a.subscription_id = d.subscription_id ORDER BY number DESC LIMIT 1
  ))
ORDER BY d.signal_id, d.subscription_id
LIMIT $12;

-- name: give_up
-- Cancel a dead or parked delivery.
UPDATE deliveries SET state = 'cancelled', due_at = NULL, finished_at = now(), reason = $3
WHERE signal_id = $1 AND subscription_id = $2 AND state IN ('dead', 'parked')
RETURNING signal_id;

-- name: ledger
-- The books in one snapshot; $1: of one subscription, or null for all. Signals are counted for all, always.
SELECT counted, sum(n)::bigint AS n
FROM (
    SELECT counted, n FROM ledger_tallies
    WHERE subscription_id = coalesce($1, 0) OR (subscription_id = 0 AND counted = 'recorded')
    UNION ALL
    SELECT counted, n FROM ledger_deltas
    WHERE $1::bigint IS NULL OR subscription_id = $1 OR counted = 'recorded'
) AS counts
GROUP BY counted;

-- name: fold_ledger
-- Add up to $1 deltas to the tallies, each subscription's and those of all (0); any number of schedulers may do this at
-- once. Return how many there were.
WITH taken AS (
    DELETE FROM ledger_deltas
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM ledger_deltas LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING subscription_id, counted, n
), folded AS (
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
)
SELECT count(*) FROM taken;
