-- Signals in the order of recording, or the opposite one, and those of them that are asked for; see broker/store/pages.py.
-- `beyond` and `direction` are > and ASC, or < and DESC. Pairs are compared and ordered by as in the index that is to be walked
-- along: so no other one serves, whatever the statistics say, and whatever the plan was made for.

-- name: find
-- The next :looks signals after position :after, of those after position :first and up to :last.
SELECT id, position, octet_length(payload) AS size FROM signals
WHERE position {beyond} :after AND position > :first AND position <= :last
ORDER BY position {direction} LIMIT :looks;

-- name: find_along
-- The same of those that have a :value in a column; `where` is the condition of the column's index.
SELECT id, position, octet_length(payload) AS size FROM signals
WHERE ({column}, position) {beyond} (:value, :after::bigint)
  AND ({column}, position) > (:value, :first::bigint) AND ({column}, position) <= (:value, :last::bigint) AND {where}
ORDER BY {column} {direction}, position {direction} LIMIT :looks;

-- name: is_rare
-- Whether few signals have a :value in a column.
SELECT count(*) < :few FROM (
    SELECT FROM signals
    WHERE ({column}, position) >= (:value, 0::bigint) AND ({column}, position) <= (:value, 9223372036854775807) AND {where}
    ORDER BY {column}, position LIMIT :few
) AS few_of_them;

-- name: position_before
-- The position that signals before that one are before, in the order of recording; if it is not recorded, that after the one
-- with the next lower id.
SELECT coalesce(
    (SELECT position FROM signals WHERE id = :signal_id),
    (SELECT position + 1 FROM signals WHERE id < :signal_id ORDER BY id DESC LIMIT 1),
    0
);

-- name: last_position
-- A position that no signal with an id up to :last_id is beyond, found by whole partitions.
SELECT coalesce(max(position), 0) FROM signals WHERE id < (SELECT min(next_id) FROM blocks WHERE next_id > :last_id);

-- name: look
-- The signals with these ids that match the filters, in the order of the ids given; `found`: how many. Null filters are no filters. :names and
-- :permitted_names are regular expressions (see `broker.names.expression`); the latter, :tenants and :untenanted say what the
-- caller may read. The last signal is the one whose payload fills `max_bytes`. (LIMIT 1 makes each a look-up by key.)
-- A payload without escapes matches all :hints, and the regular expression :number. The text :text_hint is in it, or in a key;
-- letters other than those of ASCII are compared as they are. (See `broker.searches`.)
WITH chosen AS MATERIALIZED (
    SELECT k.number, g.* FROM unnest(:signal_ids::bigint[]) WITH ORDINALITY AS k (signal_id, number), LATERAL (
        SELECT * FROM signals
        WHERE id = k.signal_id
          AND (:above_id::bigint IS NULL OR id > :above_id)
          AND (:names::text IS NULL OR '.' || name ~ :names)
          AND (:permitted_names::text IS NULL OR '.' || name ~ :permitted_names)
          AND is_readable(scope, tenant_id, reach, :tenants::text[], :untenanted::boolean)
          AND (:tenant_id::text IS NULL OR tenant_id = :tenant_id)
          AND (:execution_id::text IS NULL OR execution_id = :execution_id)
          AND (:business_key::text IS NULL OR business_key = :business_key)
          AND (:ordering_key::text IS NULL OR ordering_key = :ordering_key)
          AND (:source::text IS NULL OR source = :source)
          AND (:source_id::bigint IS NULL OR source_id = :source_id)
          AND (:state::text IS NULL OR state = :state)
          AND (:since::timestamptz IS NULL OR created_at >= :since)
          AND (:until::timestamptz IS NULL OR created_at < :until)
          AND (
              :hints::text[] IS NULL OR strpos(payload, '\') > 0
              OR (payload LIKE ALL (:hints) AND (:number::text IS NULL OR payload ~ :number))
          )
          AND (
              :text_hint::text IS NULL OR strpos(payload, '\') > 0 OR strpos(lower(payload COLLATE "C"), :text_hint) > 0
              OR strpos(
                  lower(concat_ws(' ', name, business_key, ordering_key, source_id, execution_id) COLLATE "C"), :text_hint
              ) > 0
          )
        LIMIT 1
    ) AS g
    ORDER BY k.number LIMIT :limit
), sized AS (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY number) - octet_length(payload) AS before, count(*) OVER () AS found
    FROM chosen
)
SELECT * FROM sized WHERE before < :max_bytes::bigint ORDER BY number;
