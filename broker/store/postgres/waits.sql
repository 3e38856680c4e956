-- Why statements wait.

-- name: find_holders
-- The sessions, oldest transactions first, that others in this database wait for, or that hold or want a lock which even reads wait
-- for. Of those of other roles, a role that may not see them sees the number alone.
WITH waited_for AS (
    SELECT unnest(pg_blocking_pids(pid)) AS pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
), exclusive AS (
    SELECT pid, min(relation::regclass::text) AS locked FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND relation >= 16384
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY pid
)
SELECT concat_ws(' ', 'pid', a.pid, nullif(a.application_name, ''),
                 nullif(concat('(', concat_ws(', ', a.state,
                                              'for ' || round(extract(epoch FROM clock_timestamp() - a.xact_start)) || ' s',
                                              'with a lock on ' || e.locked), ')'), '()')) AS holder
FROM pg_stat_activity a LEFT JOIN exclusive e ON e.pid = a.pid
WHERE a.pid <> pg_backend_pid() AND (e.pid IS NOT NULL OR a.pid IN (SELECT pid FROM waited_for))
ORDER BY a.xact_start LIMIT 3;
