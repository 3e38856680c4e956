-- Locks are taken in this order, so that nobody waits in a circle: gates, circuits, subscriptions, deliveries; of each
-- kind in the order of their keys.

-- name: lock
-- Lock the gates of subscriptions $1.
SELECT * FROM gates WHERE subscription_id = ANY ($1::bigint[]) ORDER BY subscription_id FOR UPDATE;

-- name: asked
-- Those of the attempts asked for (as in `claim`) that are still due, and what decides whether they may go.
SELECT DISTINCT ON (d.signal_id, d.subscription_id)
    d.signal_id, d.subscription_id, c.attempt, d.reason, d.steps_done, s AS subscription, statement_timestamp() AS now
FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::boolean[]) AS c (signal_id, subscription_id, attempt, again)
JOIN deliveries d ON d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id
JOIN subscriptions s ON s.id = c.subscription_id
WHERE d.state IS NOT DISTINCT FROM 'pending' AND (d.attempts = c.attempt - 1 OR (c.again AND d.attempts = c.attempt))
ORDER BY d.signal_id, d.subscription_id, c.attempt DESC;

-- name: places
-- How many places of subscriptions $1 are taken, and which of the signals $2 have one.
SELECT subscription_id, count(*) AS taken, array_agg(signal_id) FILTER (WHERE signal_id = ANY ($2::bigint[])) AS own
FROM places WHERE subscription_id = ANY ($1::bigint[]) AND until > now()
GROUP BY subscription_id;

-- name: take_places
-- Give deliveries (signals $1, subscriptions $2) a place for $3.
INSERT INTO places (signal_id, subscription_id, until)
SELECT signal_id, subscription_id, now() + lease
FROM unnest($1::bigint[], $2::bigint[], $3::interval[]) AS t (signal_id, subscription_id, lease)
ON CONFLICT (subscription_id, signal_id) DO UPDATE SET until = EXCLUDED.until;

-- name: leave_places
-- Take back the places of deliveries (signals $1, subscriptions $2).
DELETE FROM places p USING unnest($1::bigint[], $2::bigint[]) AS l (signal_id, subscription_id)
WHERE p.subscription_id = l.subscription_id AND p.signal_id = l.signal_id;

-- name: promote
-- Let the held deliveries of subscriptions $1 into the places that are free, the oldest first: they are pending again, and
-- have their places. $2: at most so many of each subscription; $3: seconds after which they are looked after.
WITH room AS (
    SELECT s.id, least($2::bigint, s.max_in_flight - (
        SELECT count(*) FROM places p WHERE p.subscription_id = s.id AND p.until > now()
    )) AS places
    FROM subscriptions s WHERE s.id = ANY ($1::bigint[]) AND s.paused_at IS NULL
), chosen AS (
    SELECT held.* FROM room CROSS JOIN LATERAL (
        SELECT d.signal_id, d.subscription_id FROM deliveries d
        WHERE d.subscription_id = room.id AND d.state = 'parked' AND d.due_at IS NULL AND d.reason = 'in_flight'
        ORDER BY d.signal_id LIMIT greatest(room.places, 0)
    ) AS held
), promoted AS (
    UPDATE deliveries d SET state = 'pending', due_at = now() + make_interval(secs => $3)
    FROM chosen c
    WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state = 'parked'
    RETURNING d.signal_id, d.subscription_id, d.attempts + 1 AS attempt, d.app
), taken AS (
    INSERT INTO places (signal_id, subscription_id, until)
    SELECT signal_id, subscription_id, now() + make_interval(secs => $3) FROM promoted
    ON CONFLICT (subscription_id, signal_id) DO UPDATE SET until = EXCLUDED.until
)
SELECT * FROM promoted;

-- name: park
-- Park pending deliveries (signals $1, subscriptions $2) before their attempts $3, until $4 (null: held), for the reasons $5.
UPDATE deliveries d SET state = 'parked', attempts = c.attempt - 1, due_at = c.due_at, reason = c.reason
FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::timestamptz[], $5::text[])
    AS c (signal_id, subscription_id, attempt, due_at, reason)
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state IS NOT DISTINCT FROM 'pending';

-- name: bury
-- Give pending deliveries (signals $1, subscriptions $2) up before their attempts $3, for the reasons $4.
UPDATE deliveries d
SET state = 'dead', attempts = c.attempt - 1, due_at = NULL, reason = c.reason, finished_at = now()
FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::text[]) AS c (signal_id, subscription_id, attempt, reason)
WHERE d.signal_id = c.signal_id AND d.subscription_id = c.subscription_id AND d.state IS NOT DISTINCT FROM 'pending';

-- name: save
-- Keep what became of locked gates: subscriptions $1, slots $2, until when the rate is used up $3, whether anything is held $4.
UPDATE gates g SET slot_at = s.slot_at, spent_at = s.spent_at, held = g.held OR s.held
FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::boolean[]) AS s (subscription_id, slot_at, spent_at, held)
WHERE g.subscription_id = s.subscription_id;

-- name: hold
-- Note that subscription $1 may have deliveries to be looked after.
UPDATE gates SET held = true WHERE subscription_id = $1;

-- name: forget_slots
-- Let those that come now to the locked gate of subscription $1 not wait behind the slots that were given out before.
UPDATE gates SET slot_at = 'epoch' WHERE subscription_id = $1;

-- name: disable
-- Disable subscriptions $1 for the reason $2; return those that were not disabled already.
WITH disabled AS (
    UPDATE subscriptions SET disabled_because = $2
    WHERE id = ANY ($1::bigint[]) AND disabled_because IS NULL
    RETURNING id
)
UPDATE gates SET held = true FROM disabled WHERE subscription_id = id RETURNING id;
