-- Events: noted where they happen, by triggers of the schema and by statements that say so; combined, and told by signals.

-- name: note
-- Note what is about no subscription, but about :subjects, and belongs to :tenants (null: to none).
INSERT INTO event_notes (type, subject, tenants, n, details)
SELECT :type, subject, CASE WHEN tenant IS NOT NULL THEN ARRAY[tenant] END, n, details
FROM unnest(:subjects::text[], :tenants::text[], :counts::bigint[], :details::json[]) AS a (subject, tenant, n, details);

-- name: know_dead_queues
INSERT INTO dead_queues (queue) SELECT unnest(:queues::text[]) ON CONFLICT DO NOTHING;

-- name: note_poison
-- Note of these dead queues which ones hold more messages than before. One that holds fewer for 30 seconds was emptied.
WITH known AS MATERIALIZED (
    SELECT d.queue, d.n AS before, q.n AS after, d.lower_since
    FROM unnest(:queues::text[], :counts::bigint[]) AS q (queue, n) JOIN dead_queues d ON d.queue = q.queue
    WHERE q.n <> d.n OR d.lower_since IS NOT NULL ORDER BY d.queue FOR UPDATE OF d
), stored AS (
    UPDATE dead_queues d
    SET n = CASE WHEN after >= before OR k.lower_since < now() - interval '30 seconds' THEN after ELSE before END,
        lower_since = CASE WHEN after < before AND (k.lower_since IS NULL OR k.lower_since >= now() - interval '30 seconds')
                           THEN coalesce(k.lower_since, now()) END
    FROM known k WHERE d.queue = k.queue
)
INSERT INTO event_notes (type, subject, n, details)
SELECT '$broker.message.poisoned', queue, after - before, json_build_object('queue', queue, 'messages', after)
FROM known WHERE after > before;

-- name: has_work
-- Whether anything is to be combined or told.
SELECT EXISTS (SELECT FROM event_notes) OR EXISTS (SELECT FROM event_windows WHERE n > 0)
    OR EXISTS (SELECT FROM events WHERE NOT is_settled);

-- name: claim
-- Whether this transaction is the one that makes events. Two at once would not see what the other one tells: that a circuit
-- closed might be told before it opened. Rows that an older version has locked, which does without this, are skipped.
SELECT pg_try_advisory_xact_lock({locks.EVENTS});

-- name: gather
-- Add the :limit oldest notes to what happened since the last event of their kind. Return how many notes were found.
WITH taken AS (
    DELETE FROM event_notes
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM event_notes ORDER BY at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING *
), counted AS (
    SELECT DISTINCT ON (subscription_id, subject, type) subscription_id, subject, type, tenants, details, at AS last_at,
           sum(n) OVER kind AS n, min(at) OVER kind AS first_at
    FROM taken WINDOW kind AS (PARTITION BY subscription_id, subject, type)
    ORDER BY subscription_id, subject, type, at DESC
), gathered AS (
    INSERT INTO event_windows AS known (subscription_id, subject, type, tenants, n, first_at, last_at, details)
    SELECT subscription_id, subject, type, tenants, n, first_at, last_at, details FROM counted
    ORDER BY subscription_id, subject, type
    ON CONFLICT (subscription_id, subject, type) DO UPDATE SET
        tenants = EXCLUDED.tenants, n = known.n + EXCLUDED.n, last_at = EXCLUDED.last_at, details = EXCLUDED.details,
        first_at = CASE WHEN known.n = 0 THEN EXCLUDED.first_at ELSE known.first_at END
)
SELECT count(*) FROM taken;

-- name: combine
-- Make events of what happened, about :limit subjects at most, and one of each type about the same in :every seconds: the
-- first at once. What is about the same (`circuit` is opened and closed) goes along with what is due, so that the last event
-- says how things are. What happened to a subscription that is deleted by now is left out. If the clock was set back, nothing
-- waits for its earlier time. Of deliveries that died the last one is described.
WITH due AS (
    SELECT DISTINCT subscription_id, subject, split_part(type, '.', 2) AS noun FROM event_windows
    WHERE n > 0 AND (told_at IS NULL OR abs(extract(epoch FROM now() - told_at)) >= :every)
    ORDER BY subscription_id, subject, noun LIMIT :limit
), chosen AS MATERIALIZED (
    SELECT w.* FROM event_windows w JOIN due d
        ON d.subscription_id = w.subscription_id AND d.subject = w.subject AND d.noun = split_part(w.type, '.', 2)
    WHERE w.n > 0 ORDER BY w.subscription_id, w.subject, w.type FOR UPDATE OF w SKIP LOCKED
), ended AS (
    UPDATE event_windows w SET n = 0, told_at = now()
    FROM chosen c WHERE w.subscription_id = c.subscription_id AND w.subject = c.subject AND w.type = c.type
)
INSERT INTO events (type, subscription_id, subscription_name, tenant_id, tenants, since, at, n, details)
SELECT c.type, c.subscription_id, s.name, CASE WHEN c.subscription_id = 0 THEN c.tenants[1] ELSE s.tenant_id END,
       CASE WHEN c.subscription_id = 0 THEN c.tenants ELSE belongs_to(s.tenant_id, s.owner_tenants) END,
       c.first_at, c.last_at, c.n, CASE c.type WHEN '$broker.delivery.dead' THEN json_build_object(
           'deliveryId', (c.details->>'signalId') || '-' || c.subscription_id, 'reason', d.reason, 'attempts', d.attempts,
           'status', a.status
       ) ELSE c.details END
FROM chosen c LEFT JOIN subscriptions s ON s.id = c.subscription_id AND s.until IS NULL
LEFT JOIN LATERAL (
    SELECT * FROM deliveries
    WHERE c.type = '$broker.delivery.dead' AND signal_id = (c.details->>'signalId')::bigint AND subscription_id = c.subscription_id
    OFFSET 0
) AS d ON true
LEFT JOIN LATERAL (
    SELECT status FROM attempts WHERE signal_id = d.signal_id AND subscription_id = d.subscription_id
    ORDER BY number DESC LIMIT 1
) AS a ON true
WHERE c.subscription_id = 0 OR s.id IS NOT NULL
ORDER BY c.last_at, c.type DESC
RETURNING id;

-- name: are_wanted
-- Whether any subscription is for signals with these :names, or has a pattern with one of these :keys.
SELECT EXISTS (SELECT FROM subscriptions WHERE name = ANY (:names::text[]) AND until IS NULL AND consumed_by IS NULL)
    OR EXISTS (
        SELECT FROM subscriptions
        WHERE pattern_key(name) = ANY (:keys::text[]) AND pattern_key(name) IS NOT NULL AND until IS NULL AND consumed_by IS NULL
    );

-- name: settle_all
-- No signals are needed for events that have none.
UPDATE events SET is_settled = true WHERE NOT is_settled AND signal_id IS NULL;

-- name: unsettled
-- At most :limit events that are to be told.
SELECT * FROM events WHERE NOT is_settled ORDER BY id LIMIT :limit;

-- name: number
-- Note the signals that tell events, unless they have some.
UPDATE events e SET signal_id = n.signal_id, signal_at = n.signal_at
FROM unnest(:ids::bigint[], :signal_ids::bigint[], :signal_at::timestamptz[]) AS n (id, signal_id, signal_at)
WHERE e.id = n.id AND e.signal_id IS NULL;

-- name: settle
-- The signals of these events are in the record queue.
UPDATE events SET is_settled = true WHERE id = ANY (:ids::bigint[]);

-- name: page
-- At most :limit events before :before_id that a caller may see, the newest first.
SELECT * FROM events
WHERE id < :before_id
  AND (:type::text IS NULL OR type = :type)
  AND (:subscription_id::bigint IS NULL OR subscription_id = :subscription_id)
  AND (:since::timestamptz IS NULL OR at >= :since)
  AND (:permitted_names::text IS NULL OR ('.' || type) ~ :permitted_names)
  AND is_readable(CASE WHEN tenants IS NULL THEN 'untenanted' ELSE 'broadcast' END, NULL, to_json(tenants), :tenants, :untenanted)
ORDER BY id DESC LIMIT :limit;

-- name: forget
-- Delete up to :limit events that are older than :days days or not among the last :most, and what is known of kinds of which
-- nothing is to be combined any more, :every seconds after their last event. Return how many.
WITH old AS (
    DELETE FROM events WHERE id IN (
        SELECT id FROM events WHERE id <= (SELECT max(id) FROM events) - :most::bigint OR at < now() - make_interval(days => :days::int)
        ORDER BY id LIMIT :limit
    ) RETURNING 1
), idle AS (
    DELETE FROM event_windows WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM event_windows WHERE n = 0 AND told_at < now() - make_interval(secs => :every)
        LIMIT :limit FOR UPDATE SKIP LOCKED
    )) RETURNING 1
)
SELECT (SELECT count(*) FROM old) + (SELECT count(*) FROM idle);
