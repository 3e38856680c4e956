-- name: limit
-- End the session if its process hangs, so that another one can measure.
SET idle_session_timeout = '1min';

-- name: begin
-- Whether the process of this session measures from now on; false if another one does.
SELECT pg_try_advisory_lock({locks.MEASURING});

-- name: keep
-- Whether the session is still there.
SELECT 1;
