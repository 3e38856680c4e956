-- Ids are kept as multiranges: a backlog of a million signals is a few rows. That a signal is recorded is said by its row in
-- matches. "Old" is what was reported :age ago or earlier.

-- name: report_accepted
-- Report the throws of these signals (a multirange as text) as answered.
INSERT INTO acceptance_reports (numbers) VALUES ((:numbers::text)::int8multirange);

-- name: report_held
-- Report what a recorder holds, and the last proof that it was handed out.
INSERT INTO recorders (name, held, stuck, proof) VALUES (:name, :held::int, :stuck, :proof)
ON CONFLICT (name) DO UPDATE
SET held = EXCLUDED.held, stuck = EXCLUDED.stuck, proof = EXCLUDED.proof, reported_at = clock_timestamp();

-- name: forget_recorder
DELETE FROM recorders WHERE name = :name;

-- name: next_proof
-- A number for a proof, greater than those before.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- name: proven
-- How many recorders were handed out the proof :proof, or a later one.
SELECT count(*) FROM recorders WHERE proof >= :proof;

-- name: try_lock
-- Lock the books against other schedulers; return whether no other has them.
SELECT pg_try_advisory_xact_lock({locks.INTAKE_BOOKS});

-- name: take_reports
-- Enter up to :limit reports; those of the same :span of time share a row.
WITH taken AS (
    DELETE FROM acceptance_reports
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM acceptance_reports ORDER BY reported_at LIMIT :limit))
    RETURNING reported_at, numbers
), entries AS (
    SELECT date_bin(:span::interval, reported_at, 'epoch') + :span::interval AS since, range_agg(ids) AS numbers
    FROM taken CROSS JOIN LATERAL unnest(numbers) AS ids
    GROUP BY 1
)
INSERT INTO unrecorded_signals AS known (kind, since, numbers)
SELECT 'awaiting', since, numbers FROM entries ORDER BY since
ON CONFLICT (kind, since) DO UPDATE SET numbers = known.numbers + EXCLUDED.numbers;

-- name: strike_recorded
-- Strike out recorded signals, and those whose partition was dropped, in the :limit rows (null: all) looked at least recently.
WITH looked AS MATERIALIZED (
    SELECT kind, since, numbers FROM unrecorded_signals ORDER BY looked_at LIMIT :limit FOR UPDATE
), kept AS MATERIALIZED (
    SELECT l.kind, l.since,
           l.numbers * int8multirange(int8range((SELECT min(first_id) FROM blocks), NULL)) - coalesce((
               SELECT range_agg(int8range(m.signal_id, m.signal_id + 1))
               FROM unnest(l.numbers) AS ids CROSS JOIN LATERAL (
                   SELECT signal_id FROM matches WHERE signal_id >= lower(ids) AND signal_id < upper(ids) OFFSET 0
               ) AS m
           ), '{}') AS numbers
    FROM looked l
), emptied AS (
    DELETE FROM unrecorded_signals u USING kept k WHERE u.kind = k.kind AND u.since = k.since AND isempty(k.numbers)
)
UPDATE unrecorded_signals u SET numbers = k.numbers, looked_at = clock_timestamp()
FROM kept k WHERE u.kind = k.kind AND u.since = k.since AND NOT isempty(k.numbers);

-- name: forget_recorders
-- Forget recorders that ended without saying so.
DELETE FROM recorders WHERE reported_at < now() - interval '1 hour';

-- name: count
-- Count unrecorded signals as of now, the reports included, by kind and age; those among them that a proof came behind that
-- was handed out; and how long the oldest has waited.
WITH last AS (
    SELECT to_timestamp(max(proof) / 1000000.0) AS proof_at FROM recorders
), known AS (
    SELECT kind, since, numbers FROM unrecorded_signals
    UNION ALL
    SELECT 'awaiting', reported_at, numbers FROM acceptance_reports
), ranges AS (
    SELECT kind, old, passed, since, unnest(numbers) AS ids
    FROM (
        SELECT kind, since < now() - :age::interval AS old, coalesce(since < proof_at, false) AS passed,
               min(since) AS since, range_agg(ids) AS numbers
        FROM known CROSS JOIN last CROSS JOIN LATERAL unnest(numbers) AS ids
        GROUP BY 1, 2, 3
    ) AS merged
), counted AS (
    SELECT kind, old, passed, since, upper(ids) - lower(ids) - (
        SELECT count(*) FROM matches WHERE signal_id >= lower(ids) AND signal_id < upper(ids)
    ) AS n
    FROM ranges
)
SELECT kind, old, sum(n)::bigint AS n, coalesce(sum(n) FILTER (WHERE passed), 0)::bigint AS passed,
       extract(epoch FROM now() - min(since) FILTER (WHERE n > 0))::double precision AS age
FROM counted GROUP BY kind, old;

-- name: recorders
-- How many recorders report, and what they hold; whether one of those messages has been held for long; whether a recorder
-- fell silent.
SELECT coalesce(sum(held) FILTER (WHERE heard), 0)::bigint AS held,
       coalesce(bool_or(heard AND stuck), false) AS stuck,
       coalesce(bool_or(NOT heard AND reported_at > now() - 2 * :age::interval), false) AS silent,
       count(*) FILTER (WHERE heard) AS heard
FROM (SELECT *, reported_at > now() - :fresh::interval AS heard FROM recorders) AS r;

-- name: passed
-- Whether a signal was recorded lately that was thrown :grace after the old ones were reported: it was behind them in the
-- queue, which was long ago.
SELECT coalesce(
    (SELECT created_at FROM signals ORDER BY position DESC LIMIT 1) - :grace::interval
    > (SELECT max(since) FROM unrecorded_signals WHERE kind = 'awaiting' AND since < now() - :age::interval), false
);

-- name: lose_old
-- Move the old signals that are awaiting to the lost ones; return their ranges.
WITH moved AS (
    DELETE FROM unrecorded_signals WHERE kind = 'awaiting' AND since < now() - :age::interval RETURNING numbers
), merged AS (
    SELECT range_agg(ids) AS numbers FROM moved CROSS JOIN LATERAL unnest(numbers) AS ids
), stored AS (
    INSERT INTO unrecorded_signals AS known (kind, since, numbers)
    SELECT 'lost', now(), numbers FROM merged WHERE numbers IS NOT NULL
    ON CONFLICT (kind, since) DO UPDATE SET numbers = known.numbers + EXCLUDED.numbers
)
SELECT lower(ids) AS first_id, upper(ids) - 1 AS last_id FROM merged CROSS JOIN LATERAL unnest(numbers) AS ids;

-- name: find_poison
-- The dead queue holds the signals :ids: those that are unrecorded are poison. Return the ranges of those that were not known.
WITH dead AS MATERIALIZED (
    SELECT coalesce(range_agg(int8range(id, id + 1)), '{}') AS numbers FROM unnest(:ids::bigint[]) AS id
), found AS MATERIALIZED (
    SELECT range_agg(ids) AS numbers
    FROM unrecorded_signals u CROSS JOIN dead d CROSS JOIN LATERAL unnest(u.numbers * d.numbers) AS ids
    WHERE u.kind <> 'poison'
), taken AS (
    UPDATE unrecorded_signals u SET numbers = u.numbers - d.numbers
    FROM dead d WHERE u.kind <> 'poison' AND u.numbers && d.numbers
), stored AS (
    INSERT INTO unrecorded_signals AS known (kind, since, numbers)
    SELECT 'poison', now(), numbers FROM found WHERE numbers IS NOT NULL
    ON CONFLICT (kind, since) DO UPDATE SET numbers = known.numbers + EXCLUDED.numbers
)
SELECT lower(ids) AS first_id, upper(ids) - 1 AS last_id FROM found CROSS JOIN LATERAL unnest(numbers) AS ids;

-- name: return_poison
-- The dead queue holds the signals :ids and no others: other poison awaits its record again.
WITH dead AS MATERIALIZED (
    SELECT coalesce(range_agg(int8range(id, id + 1)), '{}') AS numbers FROM unnest(:ids::bigint[]) AS id
), gone AS MATERIALIZED (
    SELECT range_agg(ids) AS numbers
    FROM unrecorded_signals u CROSS JOIN dead d CROSS JOIN LATERAL unnest(u.numbers - d.numbers) AS ids
    WHERE u.kind = 'poison'
), kept AS (
    UPDATE unrecorded_signals u SET numbers = u.numbers * d.numbers
    FROM dead d WHERE u.kind = 'poison' AND NOT u.numbers <@ d.numbers
)
INSERT INTO unrecorded_signals AS known (kind, since, numbers)
SELECT 'awaiting', now(), numbers FROM gone WHERE numbers IS NOT NULL
ON CONFLICT (kind, since) DO UPDATE SET numbers = known.numbers + EXCLUDED.numbers;

-- name: forget_pending_records
-- Let no later signal wait for these.
DELETE FROM expected_signals e
USING unnest(:firsts::bigint[], :lasts::bigint[]) AS moved (first_id, last_id)
WHERE e.signal_id BETWEEN moved.first_id AND moved.last_id;
