-- name: now
-- What PostgreSQL's clock shows at this moment, whenever the transaction began.
SELECT clock_timestamp();
