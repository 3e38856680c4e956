-- name: find_span
-- From which id to which (null: no end) all signals lie that were accepted at :since or later and before :until (null: at
-- any time), and some others. The minutes are for a server whose clock is behind its predecessor's.
SELECT coalesce((
           SELECT id FROM signals WHERE recorded_at < :since::timestamptz - interval '1 minute'
           ORDER BY recorded_at DESC LIMIT 1
       ), 0) + 1 AS first_id,
       (SELECT id FROM signals
        WHERE recorded_at >= :until::timestamptz AND created_at >= :until::timestamptz + interval '1 minute'
        ORDER BY recorded_at LIMIT 1) AS last_id;

-- name: find_start
-- After which position to look for signals that come after signal :after_id and were accepted at :since or later (null: at
-- any time), and whether that signal is recorded. If it is not, every signal with a higher id comes after it: they all were
-- accepted, and so recorded, after the recorded signal with the next lower id was accepted.
-- `recorded_at` ascends with the position; the minute is for a server whose clock is behind its predecessor's.
WITH known AS (
    SELECT position FROM signals WHERE id = :after_id
), since AS (
    SELECT greatest(:since::timestamptz, (
        SELECT created_at FROM signals WHERE id < :after_id AND NOT EXISTS (SELECT FROM known) ORDER BY id DESC LIMIT 1
    )) - interval '1 minute' AS moment
)
SELECT EXISTS (SELECT FROM known) AS known, greatest(
    (SELECT position FROM known),
    CASE WHEN moment IS NULL THEN 0 ELSE coalesce(
        (SELECT position - 1 FROM signals WHERE recorded_at >= moment ORDER BY recorded_at LIMIT 1),
        (SELECT max(position) FROM signals),
        0
    ) END
) AS position
FROM since;
