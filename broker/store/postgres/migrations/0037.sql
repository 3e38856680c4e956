-- Whichever index the planner chooses to look a row of the statistics up, it leads to that row: `statistics_by_moment` led
-- to all of the moment, and was chosen for a minute that the planner's figures do not know yet.
CREATE INDEX CONCURRENTLY statistics_of_moment ON statistics (seconds, kind, at, subscription_id, tenant, name);
DROP INDEX CONCURRENTLY IF EXISTS statistics_by_moment;
-- What is to join its ordering group at a moment is found without what else is due, however much that is.
CREATE INDEX CONCURRENTLY deliveries_to_join ON deliveries (due_at)
    WHERE state = 'parked' AND reason = 'scheduled' AND ordering_key IS NOT NULL;
