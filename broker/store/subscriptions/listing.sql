-- Subscriptions by their ids, and those of them that are asked for; see broker/store/pages.py. Pairs are compared and ordered by
-- as in the index that is to be walked along: so no other one serves, whatever the statistics say, and whatever the plan was made for.

-- name: find
-- The next :looks subscriptions that meet a condition with an index of its own.
SELECT id FROM subscriptions WHERE id > :after AND until IS NULL AND {where} ORDER BY id LIMIT :looks;

-- name: find_along
-- The next :looks subscriptions that have one of :values in a column; `where` is the condition of the column's index.
SELECT s.id FROM unnest(:values::text[]) AS v (value), LATERAL (
    SELECT id FROM subscriptions
    WHERE ({column}, id) > (v.value, :after::bigint) AND ({column}, id) <= (v.value, 9223372036854775807) AND {where}
    ORDER BY {column}, id LIMIT :looks
) AS s
ORDER BY s.id LIMIT :looks;

-- name: find_leasable
-- The next :looks subscriptions of which deliveries wait to be leased: one look-up leads to the next.
WITH RECURSIVE leasable AS (
    (
        SELECT subscription_id AS id FROM deliveries
        WHERE subscription_id > :after AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
        ORDER BY subscription_id LIMIT 1
    )
    UNION ALL
    SELECT d.* FROM leasable AS l CROSS JOIN LATERAL (
        SELECT subscription_id FROM deliveries
        WHERE subscription_id > l.id AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
        ORDER BY subscription_id LIMIT 1
    ) AS d
)
SELECT id FROM (SELECT id FROM leasable LIMIT :looks) AS found ORDER BY id;

-- name: look
-- The subscriptions with these ids that match the filters and that the caller sees (see the functions); `found`: how many.
-- Null filters are no filters. The last subscription is the one that fills `max_bytes`. (LIMIT 1 makes each a look-up by key.)
WITH chosen AS MATERIALIZED (
    SELECT k.number, s.* FROM unnest(:subscription_ids::bigint[]) WITH ORDINALITY AS k (subscription_id, number), LATERAL (
        SELECT *, octet_length(concat(filter, steps, headers, body_template)) AS size FROM subscriptions
        WHERE id = k.subscription_id AND until IS NULL
          AND is_seen(tenant_id, owner_tenants, :tenants::text[], :untenanted::boolean)
          AND is_permitted(name, is_pattern, :permitted_names::text, :permitted_patterns::text[])
          AND (:name::text IS NULL OR name = :name)
          AND (:tenant_id::text IS NULL OR tenant_id = :tenant_id)
          AND (:execution_id::text IS NULL OR execution_id = :execution_id)
          AND (:host::text IS NULL OR host_of(kind, address) = :host)
          AND (:state::text IS NULL OR CASE :state
               WHEN 'disabled' THEN disabled_because IS NOT NULL
               WHEN 'paused' THEN disabled_because IS NULL AND paused_at IS NOT NULL
               WHEN 'failing' THEN EXISTS (SELECT FROM circuits c WHERE c.subscription_id = subscriptions.id AND c.retry_at IS NOT NULL)
               WHEN 'leasable' THEN EXISTS (
                   SELECT FROM deliveries d
                   WHERE d.subscription_id = subscriptions.id AND d.state = 'pending' AND d.app = '$pull'
                     AND d.reason IS DISTINCT FROM 'leased' OFFSET 0
               )
               ELSE disabled_because IS NULL AND paused_at IS NULL
          END)
        LIMIT 1
    ) AS s
    ORDER BY k.number LIMIT :limit
), sized AS (
    SELECT *, sum(size) OVER (ORDER BY number) - size AS before, count(*) OVER () AS found FROM chosen
)
SELECT * FROM sized WHERE before < :max_bytes::bigint ORDER BY number;

-- name: hosts
-- The first :limit hosts of webhooks, those of later steps left out, in the order of their names.
SELECT DISTINCT host_of(kind, address) AS host FROM subscriptions
WHERE kind = 'webhook' AND until IS NULL AND host_of(kind, address) IS NOT NULL ORDER BY host LIMIT :limit;
