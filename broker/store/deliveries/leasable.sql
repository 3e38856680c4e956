-- Which deliveries to pull targets can be leased. For the index see deliveries_leasable (schema.sql): what is idle, or leased,
-- is not in it.

-- name: of_names
-- At most :limit of the subscriptions with certain names that have deliveries which can be leased, with the `number` of
-- the one of :topics that each belongs to. Those of the callers' tenants only (see `is_owned`), and of the tenants that a topic
-- is for. Two ascending lists are walked through, of what has such deliveries and of what has the name: each step goes to the
-- next in one of them that is not before the next in the other, so neither idle subscriptions of the name nor what others have to
-- lease is read. It begins anywhere and goes on from the first id, so that a :limit leaves none out for ever. (The next
-- of the name is the first from there on that is of another name or fits: so no plan but a walk through the index is cheap.)
WITH RECURSIVE topics AS MATERIALIZED (
    SELECT * FROM json_to_recordset(:topics::json) AS t (number int, name text, tenants text[], untenanted boolean)
), middle AS MATERIALIZED (
    SELECT (random() * coalesce(max(id), 0))::bigint AS id FROM subscriptions
), walk (number, after, last, id) AS (
    SELECT t.number, bounds.after, bounds.last, NULL::bigint
    FROM topics t, middle m, LATERAL (VALUES (m.id, 9223372036854775807), (0, m.id)) AS bounds (after, last)
    UNION ALL
    SELECT w.number, CASE WHEN s.id = d.subscription_id THEN s.id ELSE s.id - 1 END, w.last,
           CASE WHEN s.id = d.subscription_id THEN s.id END
    FROM walk w
    JOIN topics t ON t.number = w.number
    CROSS JOIN LATERAL (
        SELECT subscription_id FROM deliveries
        WHERE subscription_id > w.after AND subscription_id <= w.last
          AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
        ORDER BY subscription_id, signal_id LIMIT 1
    ) AS d
    CROSS JOIN LATERAL (
        SELECT name, id FROM subscriptions
        WHERE (name, id) >= (t.name, d.subscription_id) AND until IS NULL AND (
            name <> t.name OR paused_at IS NULL AND disabled_because IS NULL
            AND is_owned(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
            AND (t.tenants IS NULL OR tenant_id = ANY (t.tenants)) AND NOT (t.untenanted AND tenant_id IS NOT NULL)
        )
        ORDER BY name, id LIMIT 1
    ) AS s
    WHERE s.name = t.name AND s.id <= w.last
)
SELECT number, id FROM walk WHERE id IS NOT NULL LIMIT :limit;

-- name: of_ids
-- Those of the subscriptions with a pull target whose ids are the names of none that the caller may lease from.
SELECT * FROM subscriptions s
WHERE s.id = ANY (:ids::bigint[]) AND s.until IS NULL AND app_of(s.kind, s.address) = '$pull' AND NOT EXISTS (
    SELECT FROM subscriptions n
    WHERE n.name = s.id::text AND n.until IS NULL AND app_of(n.kind, n.address) = '$pull'
      AND is_owned(n.tenant_id, n.owner_tenants, :tenants::text[], :untenanted::boolean)
);

-- name: names
-- The names of subscriptions.
SELECT DISTINCT name FROM subscriptions WHERE id = ANY (:ids::bigint[]);

-- name: find
-- Those of the subscriptions that have deliveries which can be leased.
SELECT id FROM unnest(:subscription_ids::bigint[]) AS s (id)
WHERE EXISTS (
    SELECT FROM deliveries d
    WHERE d.subscription_id = s.id AND d.state = 'pending' AND d.app = '$pull' AND d.reason IS DISTINCT FROM 'leased' OFFSET 0
);

-- name: oldest
-- The deliveries of some subscriptions that can be leased now, of the oldest signals first, at most :most, and the bytes of their
-- payloads: of each subscription as many as its limits let go. After them those that only a rate keeps back, and in how many
-- seconds it lets the first one of each go (`again_in`). A rate is judged as in `broker.limits.Rate.take`.
SELECT d.subscription_id, d.signal_id, d.again_in,
       (SELECT octet_length(g.payload) FROM signals g WHERE g.id = d.signal_id) AS size
FROM (
    SELECT s.id AS subscription_id, d.signal_id, r.again_in
    FROM unnest(:subscription_ids::bigint[]) AS w (id)
    JOIN subscriptions s ON s.id = w.id
    JOIN gates k ON k.subscription_id = s.id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.max_in_flight IS NULL THEN :most::bigint ELSE greatest(0, s.max_in_flight - (
            SELECT count(*) FROM places p WHERE p.subscription_id = s.id AND p.until > now()
        )) END AS free, CASE
            WHEN s.max_per_second IS NULL OR k.slot_at <= now() + :lateness::interval THEN NULL
            WHEN k.slot_at > now() + :horizon::interval + make_interval(secs => 1 / s.max_per_second) THEN NULL
            ELSE extract(epoch FROM k.slot_at - now())::float8
        END AS again_in
    ) AS r
    CROSS JOIN LATERAL (
        SELECT signal_id FROM deliveries
        WHERE subscription_id = s.id AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
          AND (expires_at IS NULL OR expires_at > now() OR expires_at = '-infinity')
        ORDER BY subscription_id, signal_id
        LIMIT CASE WHEN r.again_in IS NULL THEN least(r.free, :most::bigint) ELSE least(r.free, 1) END
    ) AS d
    WHERE s.until IS NULL AND s.paused_at IS NULL AND s.disabled_because IS NULL
    ORDER BY r.again_in NULLS FIRST, d.signal_id LIMIT :most::bigint
) AS d
ORDER BY d.again_in NULLS FIRST, d.signal_id;
