-- name: heard
-- How many recorders and deliverers (workers of handlers among them) have reported lately, and how many schedulers measure
-- for all: one, as soon as one runs.
SELECT (SELECT count(*) FROM recorders WHERE reported_at > now() - :within::interval) AS recorders,
       (SELECT count(*) FROM deliverers WHERE seen_at > now() - :within::interval) AS deliverers,
       (
           SELECT count(*) FROM pg_locks
           WHERE locktype = 'advisory' AND granted AND (classid, objid, objsubid) = (0, {locks.MEASURING}, 1)
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       ) AS schedulers;
