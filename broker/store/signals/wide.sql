-- Wide signals: those that more subscriptions may match than one transaction looks at. For the order of locks see
-- broker/store/postgres/locks.py.

-- name: begin
-- Note that a signal is recorded in chunks.
INSERT INTO wide_recordings (signal_id, everything) VALUES (:signal_id, :everything);

-- name: find
-- Those of the signals that are recorded in chunks, each with whether that is finished.
SELECT signal_id, finished FROM wide_recordings WHERE signal_id = ANY (:signal_ids::bigint[]);

-- name: unfinished
-- At most :limit signals of which chunks remain to be recorded, with how far their recordings are.
SELECT s.*, w.after_id FROM wide_recordings w JOIN signals s ON s.id = w.signal_id
WHERE NOT w.finished ORDER BY w.signal_id LIMIT :limit;

-- name: cursor
-- How far the recording of a signal is, unless it is finished, and whether the signal has expired.
SELECT everything, after_id, coalesce(:expires_at::timestamptz <= now(), false) AS expired FROM wide_recordings WHERE signal_id = :signal_id AND NOT finished;

-- name: page
-- Look at the next `limit` subscriptions after `after_id`: of the name and of patterns with one of the `keys` if they are
-- found by no filter, or at everything. Return the last one, their names, and which may be owed the signal: the `plain` ones
-- if their names match, the `special` ones as the matcher says. (BETWEEN makes it a look-up by key, as in candidates.sql.)
WITH looked AS MATERIALIZED (
    SELECT s.* FROM (
        SELECT s.* FROM unnest(:keys::text[]) AS k (key), LATERAL (
            SELECT * FROM subscriptions
            WHERE pattern_key(name) = k.key AND found_by = '' AND consumed_by IS NULL AND id > :after_id::bigint
            ORDER BY id LIMIT :limit::bigint
        ) AS s
        WHERE NOT :everything::boolean
        UNION ALL
        (SELECT * FROM subscriptions
         WHERE name BETWEEN :name AND :name AND name = :name AND NOT is_pattern AND found_by = '' AND consumed_by IS NULL
           AND id > :after_id AND NOT :everything
         ORDER BY id LIMIT :limit)
        UNION ALL
        (SELECT * FROM subscriptions WHERE id > :after_id AND :everything ORDER BY id LIMIT :limit)
    ) AS s
    ORDER BY id LIMIT :limit
), fitting AS (
    SELECT id, name, filter IS NOT NULL OR once OR (ordered AND :ordered::boolean) AS special FROM looked
    WHERE consumed_by IS NULL AND disabled_because IS NULL
      AND since < :signal_id::bigint AND coalesce(until, 9223372036854775807) > :signal_id
      AND is_reached(tenant_id, execution_id, owner_tenants, owner_untenanted, :scope, :tenant_id, :execution_id, :audience::text[])
)
SELECT (SELECT max(id) FROM looked) AS last_id, array_agg(DISTINCT name) AS names,
       array_agg(id ORDER BY id) FILTER (WHERE NOT special) AS plain, array_agg(id) FILTER (WHERE special) AS special
FROM fitting;

-- name: special
-- Those of the subscriptions that have one of the `names`, as in candidates.sql.
SELECT id, name, tenant_id, execution_id, once, filter, ordered, app_of(kind, address) AS app, max_in_flight, max_per_second,
       owner_tenants, owner_untenanted, created_at, since, until, consumed_by, disabled_because, xmin AS version
FROM subscriptions WHERE id = ANY (:subscription_ids::bigint[]) AND name = ANY (:names::text[]);

-- name: lock
-- Lock what a signal is owed to, unless another recorder went on with it; return what `matches` has of that.
SELECT m.subscription_ids FROM matches m JOIN wide_recordings w ON w.signal_id = m.signal_id
WHERE m.signal_id = :signal_id AND w.after_id = :after_id AND NOT w.finished
FOR UPDATE;

-- name: owed
-- Those of the subscriptions that have a delivery of the signal.
SELECT subscription_id FROM deliveries WHERE signal_id = :signal_id AND subscription_id = ANY (:subscription_ids::bigint[]);

-- name: owe
-- Owe a signal to those of the `plain` subscriptions whose names match, unless `matches` has them: a replay was first. They
-- are parked until `due_at`. Return them, and whether one is not plain any more, or has another name than the page said.
-- (OFFSET 0 makes it a look-up by key whatever the statistics say.)
WITH now AS MATERIALIZED (
    SELECT s.id, s.name, s.until IS NOT NULL AS deleted, app_of(s.kind, s.address) AS app,
           s.filter IS NOT NULL OR s.once OR (s.ordered AND :ordered::boolean) AS special
    FROM unnest(:plain::bigint[]) AS p (id), LATERAL (SELECT * FROM subscriptions WHERE id = p.id OFFSET 0) AS s
    WHERE s.consumed_by IS NULL AND s.disabled_because IS NULL AND coalesce(s.until, 9223372036854775807) > :signal_id::bigint
      AND is_reached(s.tenant_id, s.execution_id, s.owner_tenants, s.owner_untenanted,
                     :scope, :tenant_id, :execution_id, :audience::text[])
), owed AS (
    INSERT INTO deliveries (signal_id, subscription_id, state, reason, due_at, finished_at, app, expires_at)
    SELECT :signal_id, id,
           CASE WHEN deleted OR expired THEN 'cancelled' ELSE 'parked' END,
           CASE WHEN deleted THEN :if_deleted WHEN expired THEN :if_expired ELSE :reason END,
           CASE WHEN deleted OR expired THEN NULL ELSE :due_at::timestamptz END,
           CASE WHEN deleted OR expired THEN now() END,
           app, :expires_at::timestamptz
    FROM now, coalesce(:expires_at <= now(), false) AS expired
    WHERE NOT special AND name = ANY (:matching::text[])
      AND id NOT IN (SELECT unnest(subscription_ids) FROM matches WHERE signal_id = :signal_id)
    ORDER BY id
    RETURNING subscription_id
)
SELECT coalesce((SELECT array_agg(subscription_id) FROM owed), '{}') AS subscription_ids,
       EXISTS (SELECT FROM now WHERE special OR NOT name = ANY (:names::text[])) AS changed;

-- name: note
-- Note to which subscriptions a chunk owes the signal.
INSERT INTO match_chunks (signal_id, first_id, subscription_ids)
SELECT :signal_id, min(id), array_agg(id ORDER BY id) FROM unnest(:subscription_ids::bigint[]) AS s (id) HAVING count(*) > 0;

-- name: go_on
-- Note that the chunks up to a subscription are recorded (null: all).
UPDATE wide_recordings SET after_id = coalesce(:last_id, after_id), finished = :last_id::bigint IS NULL
WHERE signal_id = :signal_id;
