-- The tables of emptied blocks. What stands in braces is filled in before; see blocks.sql.

-- name: due
-- Blocks in which no id was given for $1 seconds, and that were not emptied for $2 seconds.
SELECT * FROM blocks
WHERE closed_at <= now() - make_interval(secs => $1)
  AND (emptied_at IS NULL OR emptied_at <= now() - make_interval(secs => $2))
ORDER BY first_id;

-- name: before
-- The emptied block that ends where the block from $1 begins.
SELECT * FROM blocks WHERE next_id = $1 AND emptied_at IS NOT NULL;

-- name: owed
-- Signals from $1 to before $2 that somebody waits for still: of deliveries, of deliveries that died less than $4 seconds
-- ago, or for a moment that is less than $3 seconds past; once for each. $5 rows or more: there may be more of them.
(SELECT signal_id FROM deliveries
 WHERE signal_id >= $1 AND signal_id < $2 AND state IN ('pending', 'parked') LIMIT $5)
UNION ALL
(SELECT signal_id FROM deliveries
 WHERE signal_id >= $1 AND signal_id < $2 AND state = 'dead' AND finished_at > now() - make_interval(secs => $4) LIMIT $5)
UNION ALL
(SELECT id FROM signals
 WHERE id >= $1 AND id < $2 AND deliver_at IS NOT NULL
   AND (deliver_at > now() - make_interval(secs => $3) OR state = 'scheduled') LIMIT $5);

-- name: size
-- How many bytes the payloads of signals $1 have together.
SELECT coalesce(sum(octet_length(payload)), 0)::bigint FROM signals WHERE id = ANY ($1::bigint[]);

-- name: droppable
-- Whether there are other signals from $1 to before $2 than $3.
SELECT EXISTS (SELECT FROM signals WHERE id >= $1 AND id < $2 AND id <> ALL ($3::bigint[]));

-- name: note_emptied
UPDATE blocks SET emptied_at = now() WHERE first_id = $1;

-- name: hurry
-- Whoever keeps everybody out must not stop in the middle.
SET LOCAL statement_timeout = '3s';
SET LOCAL idle_in_transaction_session_timeout = '2s';

-- name: lock_tables
-- Wait for a vacuum to give way, while everybody else goes on.
SET LOCAL lock_timeout = '1500ms';
LOCK TABLE ONLY matches_{first_id}, ONLY deliveries_{first_id}, ONLY signals_{first_id}, ONLY attempts_{first_id}
    IN SHARE UPDATE EXCLUSIVE MODE;

-- name: lock_parents
-- Keep everybody out; not at the price of a queue. Recorders begin with matches, `finish` with attempts, `claim` with signals,
-- and all of them go on to deliveries: in this order nobody waits in a circle.
SET LOCAL lock_timeout = '300ms';
LOCK TABLE ONLY matches, ONLY attempts, ONLY signals, ONLY deliveries IN ACCESS EXCLUSIVE MODE;

-- name: retire
-- $3: the signals that stay.
WITH retired AS (
    DELETE FROM blocks WHERE first_id = $1 AND next_id = $2 RETURNING *
)
INSERT INTO retired_blocks (first_id, next_id, kept) SELECT first_id, next_id, $3 FROM retired RETURNING number;

-- name: detach_tables
ALTER TABLE matches DETACH PARTITION matches_{first_id};
ALTER TABLE deliveries DETACH PARTITION deliveries_{first_id};
ALTER TABLE signals DETACH PARTITION signals_{first_id};
ALTER TABLE attempts DETACH PARTITION attempts_{first_id};
ALTER TABLE matches_{first_id} RENAME TO retired_matches_{number};
ALTER TABLE deliveries_{first_id} RENAME TO retired_deliveries_{number};
ALTER TABLE signals_{first_id} RENAME TO retired_signals_{number};
ALTER TABLE attempts_{first_id} RENAME TO retired_attempts_{number};

-- name: keep
-- Copy what stays to the new tables of its block, which have no indexes yet. It is in the books already.
WITH signals AS (
    INSERT INTO signals_{first_id} SELECT * FROM retired_signals_{number}
    WHERE id = ANY ((SELECT kept FROM retired_blocks WHERE number = {number})::bigint[])
), matches AS (
    INSERT INTO matches_{first_id} SELECT * FROM retired_matches_{number}
    WHERE signal_id = ANY ((SELECT kept FROM retired_blocks WHERE number = {number})::bigint[])
), deliveries AS (
    INSERT INTO deliveries_{first_id} SELECT * FROM retired_deliveries_{number}
    WHERE signal_id = ANY ((SELECT kept FROM retired_blocks WHERE number = {number})::bigint[])
)
INSERT INTO attempts_{first_id} SELECT * FROM retired_attempts_{number}
WHERE signal_id = ANY ((SELECT kept FROM retired_blocks WHERE number = {number})::bigint[]);

-- name: insert_emptied
-- The block from $1 to before $2 has nothing any more but what was owed; no more ids are given in it.
INSERT INTO blocks (first_id, next_id, last_id, opened_at, closed_at, emptied_at) VALUES ($1, $2, $2::bigint - 1, $3, $4, now());

-- name: list
SELECT number, first_id, next_id, retired_at FROM retired_blocks ORDER BY number;

-- name: signals
-- The next signals after $1 that did not stay: up to 500, but not many more than make up 8 MB with what belongs to them.
WITH next AS (
    SELECT s.id, octet_length(s.payload) + octet_length(s.types)
           + 4000 * (SELECT cardinality(subscription_ids) FROM retired_matches_{number} WHERE signal_id = s.id) AS size
    FROM retired_signals_{number} s
    WHERE s.id > $1
      AND NOT EXISTS (SELECT FROM retired_blocks r, unnest(r.kept) AS k (id) WHERE r.number = {number} AND k.id = s.id)
    ORDER BY s.id LIMIT 500
), sized AS (
    SELECT id, sum(size) OVER (ORDER BY id) - size AS before FROM next
)
SELECT s.* FROM sized JOIN retired_signals_{number} s USING (id) WHERE before < 8000000 OR before IS NULL ORDER BY id;

-- name: deliveries
SELECT * FROM retired_deliveries_{number} WHERE signal_id = ANY ($1::bigint[]) ORDER BY signal_id, subscription_id;

-- name: attempts
SELECT * FROM retired_attempts_{number} WHERE signal_id = ANY ($1::bigint[]) ORDER BY signal_id, subscription_id, number;

-- name: count_out
-- Take what is dropped out of the books. Return how many signals that are.
WITH kept AS MATERIALIZED (
    SELECT unnest(kept) AS id FROM retired_blocks WHERE number = {number}
), gone AS MATERIALIZED (
    SELECT * FROM retired_matches_{number} m WHERE NOT EXISTS (SELECT FROM kept WHERE id = m.signal_id)
), noted AS (
    INSERT INTO ledger_deltas (subscription_id, counted, n)
    SELECT 0, 'recorded', -count(*) FROM gone HAVING count(*) > 0
    UNION ALL
    SELECT s.id, 'matched', -count(*) FROM gone, unnest(subscription_ids) AS s (id) GROUP BY s.id
    UNION ALL
    SELECT subscription_id, state, -count(*) FROM retired_deliveries_{number} d
    WHERE NOT EXISTS (SELECT FROM kept WHERE id = d.signal_id) GROUP BY subscription_id, state
)
SELECT count(*) FROM gone;

-- name: count_days_out
-- Take what is dropped out of the totals of what came in by signal endpoints.
WITH kept AS MATERIALIZED (
    SELECT unnest(kept) AS id FROM retired_blocks WHERE number = {number}
), gone AS (
    SELECT name, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS n
    FROM retired_signals_{number} s
    WHERE source = 'signal-endpoint' AND NOT EXISTS (SELECT FROM kept WHERE id = s.id) GROUP BY 1, 2
)
UPDATE endpoint_days d SET signals = d.signals - gone.n FROM gone WHERE d.name = gone.name AND d.day = gone.day;
DELETE FROM endpoint_days WHERE signals <= 0;

-- name: drop_tables
DROP TABLE retired_signals_{number}, retired_matches_{number}, retired_deliveries_{number}, retired_attempts_{number};
DELETE FROM retired_blocks WHERE number = {number};

-- name: lock_forgettable
-- Lock the gates of up to $1 subscriptions that nobody needs any more: deleted or consumed before all signals that are kept
-- whole, and owed none of those that are kept all the same.
SELECT g.subscription_id FROM gates g JOIN subscriptions s ON s.id = g.subscription_id
WHERE coalesce(s.until, s.consumed_by) < coalesce(
    (SELECT min(first_id) FROM blocks WHERE emptied_at IS NULL AND opened_at IS NOT NULL),
    (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM signal_ids)
)
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id)
ORDER BY g.subscription_id LIMIT $1 FOR UPDATE OF g SKIP LOCKED;

-- name: forget_subscriptions
WITH forgotten AS (
    DELETE FROM subscriptions s WHERE id = ANY ($1::bigint[])
      AND NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id)
    RETURNING id
)
DELETE FROM gates USING forgotten WHERE subscription_id = id;

-- name: forget_tallies
-- Forget the books of subscriptions that are gone.
DELETE FROM ledger_tallies t
WHERE n = 0 AND subscription_id <> 0 AND NOT EXISTS (SELECT FROM subscriptions WHERE id = t.subscription_id);

-- name: oldest
-- For how many seconds the oldest signal has been there, 0 without any.
SELECT coalesce(extract(epoch FROM now() - (SELECT created_at FROM signals ORDER BY id LIMIT 1)), 0)::double precision;
