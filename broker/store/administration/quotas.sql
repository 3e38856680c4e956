-- name: get
SELECT * FROM quotas WHERE kind = :kind AND subject = :subject;

-- name: put
INSERT INTO quotas (kind, subject, throws_per_second, subscriptions, deliveries_per_throw, payload_bytes_per_day)
VALUES (:kind, :subject, :throws_per_second, :subscriptions::int, :deliveries_per_throw::int, :payload_bytes_per_day)
ON CONFLICT (kind, subject) DO UPDATE SET
    throws_per_second = EXCLUDED.throws_per_second, subscriptions = EXCLUDED.subscriptions,
    deliveries_per_throw = EXCLUDED.deliveries_per_throw, payload_bytes_per_day = EXCLUDED.payload_bytes_per_day;

-- name: remove
DELETE FROM quotas WHERE kind = :kind AND subject = :subject;

-- name: list
-- At most :limit quotas after (:kind, :subject), those of tokens with the limits of these; without those of revoked tokens.
SELECT q.*, t.names, t.tenants, t.queues, t.untenanted
FROM quotas q LEFT JOIN tokens t ON q.kind = 'token' AND t.id::text = q.subject
WHERE (q.kind, q.subject) > (:kind, :subject) AND (q.kind = 'tenant' OR t.revoked_at IS NULL)
ORDER BY q.kind, q.subject LIMIT :limit;

-- name: all
SELECT * FROM quotas;

-- name: report_demands
-- Store what was tried a second at a gateway, which itself has an empty subject; forget gateways that are gone.
WITH gone AS (
    DELETE FROM quota_demands WHERE reported_at < now() - interval '1 minute' AND gateway <> :gateway
)
INSERT INTO quota_demands (gateway, kind, subject, throws_per_second)
SELECT :gateway::uuid, kind, subject, demand
FROM unnest(:kinds::text[], :subjects::text[], :demands::double precision[]) AS d (kind, subject, demand)
ON CONFLICT (gateway, kind, subject)
DO UPDATE SET throws_per_second = EXCLUDED.throws_per_second, reported_at = clock_timestamp();

-- name: report_payloads
-- Add bytes of payloads to today's.
INSERT INTO quota_days AS known (kind, subject, day, payload_bytes)
SELECT kind, subject, (now() AT TIME ZONE 'UTC')::date, payload_bytes
FROM unnest(:kinds::text[], :subjects::text[], :payload_bytes::bigint[]) AS p (kind, subject, payload_bytes)
ORDER BY kind, subject
ON CONFLICT (kind, subject, day) DO UPDATE SET payload_bytes = known.payload_bytes + EXCLUDED.payload_bytes;

-- name: usage
-- What the subjects use: the demand at the other gateways, and the bytes of today's payloads; beside them how many gateways
-- there are.
SELECT s.kind, s.subject,
       coalesce((SELECT sum(d.throws_per_second) FROM quota_demands d
                 WHERE d.kind = s.kind AND d.subject = s.subject AND d.gateway <> :gateway::uuid
                   AND d.reported_at > now() - interval '3 seconds'), 0) AS others,
       (SELECT count(*) FROM quota_demands WHERE subject = '' AND reported_at > now() - interval '3 seconds') AS gateways,
       coalesce((SELECT payload_bytes FROM quota_days d
                 WHERE d.kind = s.kind AND d.subject = s.subject AND d.day = (now() AT TIME ZONE 'UTC')::date), 0) AS payload_bytes
FROM unnest(:kinds::text[], :subjects::text[]) AS s (kind, subject);

-- name: forget
-- Forget the payloads of days long past.
DELETE FROM quota_days WHERE day < (now() AT TIME ZONE 'UTC')::date - 7;
