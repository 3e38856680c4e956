-- name: patterns
-- The patterns of all subscriptions, as far as `names` matches them as texts: a superset of those that it covers.
SELECT DISTINCT name FROM subscriptions WHERE is_pattern AND ('.' || name) ~ :names;
