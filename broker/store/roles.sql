-- name: heard
-- How many recorders and deliverers (workers of handlers among them) have reported lately, how many schedulers measure for
-- all (one, as soon as one runs), and how many sessions may be a gateway's, by their application names: those of earlier
-- versions do not say whose they are.
SELECT (SELECT count(*) FROM recorders WHERE reported_at > now() - :within::interval) AS recorders,
       (SELECT count(*) FROM deliverers WHERE seen_at > now() - :within::interval) AS deliverers,
       (
           SELECT count(*) FROM pg_locks
           WHERE locktype = 'advisory' AND granted AND (classid, objid, objsubid) = (0, {locks.MEASURING}, 1)
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       ) AS schedulers,
       (
           SELECT count(*) FROM pg_stat_activity
           WHERE datname = current_database()
             AND (application_name = :program::text OR application_name LIKE :program::text || ' %gateway%')
       ) AS gateways;
