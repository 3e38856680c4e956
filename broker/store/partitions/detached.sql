-- Detached partitions: their tables, which keep the word `retired` in their names. What stands in braces is filled in
-- beforehand; see partitions.sql.

-- name: due
-- Partitions in which no id was given for `retention` seconds, unless they were emptied in the last `every` seconds.
SELECT * FROM blocks
WHERE closed_at <= now() - make_interval(secs => :retention)
  AND (emptied_at IS NULL OR emptied_at <= now() - make_interval(secs => :every))
ORDER BY first_id;

-- name: before
-- The emptied partition that ends where the partition from `first_id` begins.
SELECT * FROM blocks WHERE next_id = :first_id AND emptied_at IS NOT NULL;

-- name: owed
-- The ids of signals that are still owed: one row for each delivery that is pending or parked, or died in the last `dead`
-- seconds, for each signal that was scheduled for the last `retention` seconds or later, and for each wide one of which
-- chunks remain to be recorded. `limit` rows or more: there
-- may be more of them.
(SELECT signal_id FROM deliveries
 WHERE signal_id >= :first_id AND signal_id < :next_id AND state IN ('pending', 'parked') LIMIT :limit)
UNION ALL
(SELECT signal_id FROM deliveries
 WHERE signal_id >= :first_id AND signal_id < :next_id AND state = 'dead' AND finished_at > now() - make_interval(secs => :dead) LIMIT :limit)
UNION ALL
(SELECT id FROM signals
 WHERE id >= :first_id AND id < :next_id AND deliver_at IS NOT NULL
   AND (deliver_at > now() - make_interval(secs => :retention) OR state = 'scheduled') LIMIT :limit)
UNION ALL
(SELECT signal_id FROM wide_recordings
 WHERE signal_id >= :first_id AND signal_id < :next_id AND NOT finished LIMIT :limit);

-- name: size
-- How many bytes the payloads of these signals have together.
SELECT coalesce(sum(octet_length(payload)), 0)::bigint FROM signals WHERE id = ANY (:signal_ids::bigint[]);

-- name: rows
-- How many deliveries and attempts these signals have, whether they are owed or not; `limit`: there may be more.
SELECT count(*) FROM (
    SELECT 1 FROM deliveries WHERE signal_id = ANY (:signal_ids::bigint[]) AND signal_id >= :first_id AND signal_id < :next_id
    UNION ALL
    SELECT 1 FROM attempts WHERE signal_id = ANY (:signal_ids) AND signal_id >= :first_id AND signal_id < :next_id
    LIMIT :limit
) AS r;

-- name: droppable
-- Whether the partition has signals besides those that are `owed`.
SELECT EXISTS (SELECT FROM signals WHERE id >= :first_id AND id < :next_id AND id <> ALL (:owed::bigint[]));

-- name: count
-- How many signals the partition has.
SELECT count(*) FROM signals WHERE id >= :first_id AND id < :next_id;

-- name: note_emptied
UPDATE blocks SET emptied_at = now() WHERE first_id = :first_id;

-- name: limit_transaction
-- A transaction that locks out all other sessions must not hang.
SET LOCAL statement_timeout = '3s';
SET LOCAL idle_in_transaction_session_timeout = '2s';

-- name: lock_tables
-- Wait until an autovacuum of these tables gives way; readers and writers go on meanwhile.
SET LOCAL lock_timeout = '1500ms';
LOCK TABLE ONLY matches_{first_id}, ONLY deliveries_{first_id}, ONLY signals_{first_id}, ONLY attempts_{first_id}
    IN SHARE UPDATE EXCLUSIVE MODE;

-- name: lock_parents
-- ACCESS EXCLUSIVE, with a short lock_timeout so that other sessions do not queue up behind us. Recorders begin with matches,
-- ends of attempts with attempts, beginnings with signals, and all of them go on to deliveries: this order avoids deadlocks.
SET LOCAL lock_timeout = '300ms';
LOCK TABLE ONLY matches, ONLY attempts, ONLY signals, ONLY deliveries IN ACCESS EXCLUSIVE MODE;

-- name: detach
-- Move the partition to the list of the detached ones and return its number there; `kept`: the signals that stay. No row if
-- the partition is not as it was.
WITH detached AS (
    DELETE FROM blocks WHERE first_id = :first_id AND next_id = :next_id RETURNING *
)
INSERT INTO retired_blocks (first_id, next_id, kept) SELECT first_id, next_id, :kept FROM detached RETURNING number;

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
-- Copy what stays to the new tables of its partition, which have no indexes yet. The ledger has it already.
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
-- A partition of what is still owed; no more ids are given in it.
INSERT INTO blocks (first_id, next_id, last_id, opened_at, closed_at, emptied_at)
VALUES (:first_id, :next_id, :next_id::bigint - 1, :opened_at, :closed_at, now());

-- name: list
SELECT number, first_id, next_id - 1 AS last_id, retired_at AS detached_at FROM retired_blocks ORDER BY number;

-- name: signals
-- The next signals after `after_id` that did not stay: up to 500, but not many more than make up 8 MB with their deliveries.
WITH next AS (
    SELECT s.id, octet_length(s.payload) + octet_length(s.types)
           + 4000 * ((SELECT cardinality(subscription_ids) FROM retired_matches_{number} WHERE signal_id = s.id)
                     + (SELECT coalesce(sum(cardinality(subscription_ids)), 0) FROM match_chunks WHERE signal_id = s.id)) AS size
    FROM retired_signals_{number} s
    WHERE s.id > :after_id
      AND NOT EXISTS (SELECT FROM retired_blocks r, unnest(r.kept) AS k (id) WHERE r.number = {number} AND k.id = s.id)
    ORDER BY s.id LIMIT 500
), sized AS (
    SELECT id, sum(size) OVER (ORDER BY id) - size AS before FROM next
)
SELECT s.* FROM sized JOIN retired_signals_{number} s USING (id) WHERE before < 8000000 OR before IS NULL ORDER BY id;

-- name: deliveries
SELECT * FROM retired_deliveries_{number} WHERE signal_id = ANY (:signal_ids::bigint[]) ORDER BY signal_id, subscription_id;

-- name: attempts
SELECT * FROM retired_attempts_{number} WHERE signal_id = ANY (:signal_ids::bigint[]) ORDER BY signal_id, subscription_id, number;

-- name: subtract_from_ledger
-- Subtract what is dropped from the ledger. Return how many signals are dropped.
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

-- name: subtract_from_days
-- Subtract what is dropped from the daily totals of the signal endpoints.
WITH kept AS MATERIALIZED (
    SELECT unnest(kept) AS id FROM retired_blocks WHERE number = {number}
), gone AS (
    SELECT name, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS n
    FROM retired_signals_{number} s
    WHERE source = 'signal-endpoint' AND NOT EXISTS (SELECT FROM kept WHERE id = s.id) GROUP BY 1, 2
)
UPDATE endpoint_days d SET signals = d.signals - gone.n FROM gone WHERE d.name = gone.name AND d.day = gone.day;
DELETE FROM endpoint_days WHERE signals <= 0;

-- name: forget_wide
-- Delete what is dropped of wide signals, whose matches are in no partition; the ledger is told by that.
WITH gone AS (
    DELETE FROM wide_recordings w USING retired_blocks r
    WHERE r.number = {number} AND w.signal_id >= r.first_id AND w.signal_id < r.next_id AND w.signal_id <> ALL (r.kept)
    RETURNING w.signal_id
)
DELETE FROM match_chunks c USING gone g WHERE c.signal_id = g.signal_id;

-- name: drop_tables
DROP TABLE retired_signals_{number}, retired_matches_{number}, retired_deliveries_{number}, retired_attempts_{number};
DELETE FROM retired_blocks WHERE number = {number};

-- name: lock_forgettable
-- Lock up to `limit` subscriptions after `after` that are no longer needed, by their rows in `gates`: deleted or consumed before
-- the first partition that is kept whole, and owed none of the signals in the others.
SELECT g.subscription_id FROM gates g JOIN subscriptions s ON s.id = g.subscription_id
WHERE g.subscription_id > :after AND coalesce(s.until, s.consumed_by) < coalesce(
    (SELECT min(first_id) FROM blocks WHERE emptied_at IS NULL AND opened_at IS NOT NULL),
    (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM signal_ids)
)
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id)
ORDER BY g.subscription_id LIMIT :limit FOR UPDATE OF g SKIP LOCKED;

-- name: forget_subscriptions
WITH forgotten AS (
    DELETE FROM subscriptions s WHERE id = ANY (:subscription_ids::bigint[])
      AND NOT EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id)
    RETURNING id
)
DELETE FROM gates USING forgotten WHERE subscription_id = id;

-- name: forget_tallies
-- Delete the ledger's tallies of subscriptions that are gone.
DELETE FROM ledger_tallies t
WHERE n = 0 AND subscription_id <> 0 AND NOT EXISTS (SELECT FROM subscriptions WHERE id = t.subscription_id);

-- name: oldest
-- The age of the oldest signal in seconds, 0 without any.
SELECT coalesce(extract(epoch FROM now() - (SELECT created_at FROM signals ORDER BY id LIMIT 1)), 0)::double precision;
