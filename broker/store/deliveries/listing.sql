-- Keys of deliveries in the order of a list, and those of them that are asked for; see broker/store/pages.py. `beyond` and
-- `direction` are > and ASC, or < and DESC; `of_state` is a condition that an index serves. Pairs are compared and ordered by
-- as in the index that is to be walked along: so no other one serves, whatever the statistics say, and whatever the plan was
-- made for.

-- name: find
-- The next :looks deliveries of signals from :first_id to :last_id.
SELECT signal_id, subscription_id FROM deliveries
WHERE (signal_id, subscription_id) {beyond} (:after_signal_id, :after_subscription_id)
  AND signal_id BETWEEN :first_id AND :last_id AND {of_state}
ORDER BY signal_id {direction}, subscription_id {direction} LIMIT :looks;

-- name: find_of_subscriptions
-- The same of some subscriptions.
SELECT d.* FROM unnest(:subscription_ids::bigint[]) AS s (id), LATERAL (
    SELECT signal_id, subscription_id FROM deliveries
    WHERE (subscription_id, signal_id) {beyond}= (s.id, :after_signal_id)
      AND (signal_id, subscription_id) {beyond} (:after_signal_id, :after_subscription_id)
      AND (subscription_id, signal_id) >= (s.id, :first_id) AND (subscription_id, signal_id) <= (s.id, :last_id) AND {of_state}
    ORDER BY subscription_id {direction}, signal_id {direction} LIMIT :looks
) AS d
ORDER BY signal_id {direction}, subscription_id {direction} LIMIT :looks;

-- name: find_pending
-- The same of pending deliveries. Any number may wait to be leased; few others are pending at any time.
WITH others AS MATERIALIZED (
    SELECT signal_id, subscription_id FROM deliveries WHERE state = 'pending' AND app < '$pull'
    UNION ALL
    SELECT signal_id, subscription_id FROM deliveries WHERE state = 'pending' AND app > '$pull'
    UNION ALL
    SELECT signal_id, subscription_id FROM deliveries WHERE state = 'pending' AND app = '$pull' AND reason = 'leased'
), leasable AS MATERIALIZED (
    SELECT signal_id, subscription_id FROM deliveries
    WHERE (signal_id, subscription_id) {beyond} (:after_signal_id, :after_subscription_id)
      AND signal_id BETWEEN :first_id AND :last_id
      AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
    ORDER BY signal_id {direction}, subscription_id {direction} LIMIT :looks
)
SELECT * FROM others
WHERE (signal_id, subscription_id) {beyond} (:after_signal_id, :after_subscription_id)
  AND signal_id BETWEEN :first_id AND :last_id
UNION ALL
SELECT * FROM leasable
ORDER BY signal_id {direction}, subscription_id {direction} LIMIT :looks;

-- name: find_pending_of_subscriptions
-- The same of some subscriptions.
WITH others AS MATERIALIZED (
    SELECT signal_id, subscription_id FROM deliveries
    WHERE state = 'pending' AND app < '$pull' AND subscription_id = ANY (:subscription_ids::bigint[])
    UNION ALL
    SELECT signal_id, subscription_id FROM deliveries
    WHERE state = 'pending' AND app > '$pull' AND subscription_id = ANY (:subscription_ids)
    UNION ALL
    SELECT signal_id, subscription_id FROM deliveries
    WHERE state = 'pending' AND app = '$pull' AND reason = 'leased' AND subscription_id = ANY (:subscription_ids)
), leasable AS MATERIALIZED (
    SELECT d.* FROM unnest(:subscription_ids) AS s (id), LATERAL (
        SELECT signal_id, subscription_id FROM deliveries
        WHERE (subscription_id, signal_id) {beyond}= (s.id, :after_signal_id)
          AND (signal_id, subscription_id) {beyond} (:after_signal_id, :after_subscription_id)
          AND (subscription_id, signal_id) >= (s.id, :first_id) AND (subscription_id, signal_id) <= (s.id, :last_id)
          AND state = 'pending' AND app = '$pull' AND reason IS DISTINCT FROM 'leased'
        ORDER BY subscription_id {direction}, signal_id {direction} LIMIT :looks
    ) AS d
)
SELECT * FROM others
WHERE (signal_id, subscription_id) {beyond} (:after_signal_id, :after_subscription_id)
  AND signal_id BETWEEN :first_id AND :last_id
UNION ALL
SELECT * FROM leasable
ORDER BY signal_id {direction}, subscription_id {direction} LIMIT :looks;

-- name: find_of_name
-- The same of signals of one name, which are few. A signal without deliveries has the key of one to subscription 0, which is
-- not there: it was looked at.
SELECT g.id AS signal_id, coalesce(d.subscription_id, 0) AS subscription_id
FROM (
    SELECT id FROM (
        SELECT id FROM signals
        WHERE (name, position) >= (:name, 0::bigint) AND (name, position) <= (:name, 9223372036854775807)
        ORDER BY name, position OFFSET 0
    ) AS named
    WHERE id {beyond}= :after_signal_id AND id BETWEEN :first_id AND :last_id
    ORDER BY id {direction} LIMIT :looks::bigint + 1
) AS g
LEFT JOIN LATERAL (
    SELECT subscription_id FROM deliveries
    WHERE signal_id = g.id AND (g.id <> :after_signal_id OR subscription_id {beyond} :after_subscription_id)
    ORDER BY subscription_id {direction} LIMIT :looks
) AS d ON true
WHERE g.id <> :after_signal_id OR d.subscription_id IS NOT NULL
ORDER BY g.id {direction}, d.subscription_id {direction} LIMIT :looks;

-- name: is_rare
-- Whether there are few signals of that name.
SELECT count(*) < :few FROM (
    SELECT FROM signals
    WHERE (name, position) >= (:name, 0::bigint) AND (name, position) <= (:name, 9223372036854775807)
    ORDER BY name, position LIMIT :few
) AS few_of_them;

-- name: subscriptions_of_tenants
-- At most :limit of the subscriptions, deleted ones too, of these tenants and (null: any) with webhooks at this host.
SELECT s.id FROM unnest(:of_tenants::text[]) AS t (id), LATERAL (
    SELECT id FROM subscriptions
    WHERE (tenant_id, id) >= (t.id, 0) AND (tenant_id, id) <= (t.id, 9223372036854775807) AND tenant_id IS NOT NULL
      AND (:host::text IS NULL OR kind = 'webhook' AND host_of(kind, address) = :host)
    ORDER BY tenant_id, id LIMIT :limit
) AS s
LIMIT :limit;

-- name: subscriptions_of_host
-- At most :limit of the subscriptions, deleted ones too, with webhooks at this host.
SELECT id FROM subscriptions
WHERE kind = 'webhook' AND (host_of(kind, address), id) >= (:host::text, 0) AND (host_of(kind, address), id) <= (:host, 9223372036854775807)
ORDER BY host_of(kind, address), id LIMIT :limit;

-- name: look
-- The deliveries with these keys that match the filters, in the order of the keys, each with what a list shows of it.
-- Null filters are no filters. :names and :permitted_names are regular expressions (see `broker.names.expression`); the
-- latter, :tenants and :untenanted say what the caller may read. (LIMIT 1 makes each a look-up by key.)
SELECT d.*, g.name AS signal_name, s.tenant_id,
       a.outcome, a.status, a.error, a.interrupted
FROM unnest(:signal_ids::bigint[], :subscription_ids::bigint[]) WITH ORDINALITY AS k (signal_id, subscription_id, number)
CROSS JOIN LATERAL (
    SELECT * FROM deliveries
    WHERE signal_id = k.signal_id AND subscription_id = k.subscription_id AND (:state::text IS NULL OR state = :state)
      AND (:subscription_id::bigint IS NULL OR subscription_id = :subscription_id)
    LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT name FROM signals
    WHERE id = k.signal_id
      AND (:names::text IS NULL OR '.' || name ~ :names)
      AND (:permitted_names::text IS NULL OR '.' || name ~ :permitted_names)
      AND is_readable(scope, tenant_id, reach, :tenants::text[], :untenanted::boolean)
      AND (:since::timestamptz IS NULL OR created_at >= :since)
      AND (:until::timestamptz IS NULL OR created_at < :until)
    LIMIT 1
) AS g
CROSS JOIN LATERAL (
    SELECT tenant_id FROM subscriptions
    WHERE id = k.subscription_id
      AND is_seen(tenant_id, owner_tenants, :tenants, :untenanted)
      AND (:tenant_id::text IS NULL OR tenant_id = :tenant_id)
      AND (:host::text IS NULL OR host_of(kind, address) = :host)
    LIMIT 1
) AS s
LEFT JOIN LATERAL (
    SELECT CASE WHEN interrupted THEN 'interrupted' ELSE outcome END AS outcome, status, error, started_at, interrupted
    FROM attempts
    WHERE signal_id = k.signal_id AND subscription_id = k.subscription_id
      AND (interrupted AND number = d.attempts AND d.begun_at IS NOT NULL) IS NOT TRUE
    ORDER BY number DESC LIMIT 1
) AS a ON true
WHERE (:outcome::text IS NULL OR a.outcome = :outcome)
  AND (:status::int IS NULL OR a.status = :status)
  AND (:attempted_since::timestamptz IS NULL OR a.started_at >= :attempted_since)
  AND (:attempted_until::timestamptz IS NULL OR a.started_at < :attempted_until)
ORDER BY k.number LIMIT :limit;

-- name: targets
-- The targets of subscriptions.
SELECT id, kind, address, method, headers, body_template, signatures, format, request_origin, steps, sealed FROM subscriptions
WHERE id = ANY (:subscription_ids::bigint[]);
