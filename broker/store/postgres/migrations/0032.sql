-- Subscriptions are found by the numbers, versions and moments that their filters compare with -------------------------

CREATE FUNCTION filter_span(filter json) RETURNS text[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
DECLARE
    path text;
    given jsonb;
    condition jsonb;
    operator text;
    value text;
    kind text;
    bound numeric;
    kinds text;
    low numeric;
    high numeric;
    chosen text[];
BEGIN
    IF json_typeof(filter) <> 'object' OR filter::text ~* '\\u(0000|d[89a-f])' THEN
        RETURN NULL;
    END IF;
    FOR path, given IN SELECT * FROM jsonb_each(filter::jsonb) LOOP
        CONTINUE WHEN octet_length(path) > 255 OR (path = 'anyOf' AND jsonb_typeof(given) = 'array');
        kinds := NULL;
        low := NULL;
        high := NULL;
        FOR condition IN
            SELECT * FROM jsonb_array_elements(CASE jsonb_typeof(given) WHEN 'array' THEN given ELSE jsonb_build_array(given) END)
        LOOP
            CONTINUE WHEN jsonb_typeof(condition) <> 'object'
                OR coalesce(nullif(condition -> 'inverted', 'null'), 'false') <> 'false'
                OR jsonb_typeof(condition -> 'value') IS DISTINCT FROM 'string';
            operator := condition ->> 'operator';
            value := condition ->> 'value';
            IF operator ~ '^NUM_(EQ|GTE?|LTE?)$' AND value ~ '^-?[0-9]{1,15}(\.[0-9]{1,15})?$'
                AND length(translate(value, '-.', '')) <= 15
            THEN
                kind := '#';
                bound := value::numeric;
            ELSIF operator ~ '^SEMVER_(EQ|GTE?|LTE?)$' AND value ~ '^[0-9]{1,16}\.[0-9]{1,16}\.[0-9]{1,16}([-+]|$)' THEN
                kind := 'v';
                value := substring(value FROM '^[0-9.]+');
                bound := split_part(value, '.', 1)::numeric * 1e32 + split_part(value, '.', 2)::numeric * 1e16
                    + split_part(value, '.', 3)::numeric;
            ELSIF operator IN ('DATE_AFTER', 'DATE_BEFORE')
                AND value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2}))?$'
            THEN
                kind := 't';
                BEGIN
                    bound := extract(epoch FROM (value || CASE length(value) WHEN 10 THEN 'T00:00:00Z' ELSE '' END)::timestamptz);
                EXCEPTION WHEN data_exception THEN
                    CONTINUE;
                END;
            ELSE
                CONTINUE;
            END IF;
            -- Conditions on a path with several values may be met by different ones.
            CONTINUE WHEN kinds IS NOT NULL AND (kinds <> kind OR path LIKE '%[*]%');
            kinds := kind;
            IF operator ~ '_(GTE?|EQ|AFTER)$' THEN
                low := greatest(low, bound);
            END IF;
            IF operator ~ '_(LTE?|EQ|BEFORE)$' THEN
                high := least(high, bound);
            END IF;
        END LOOP;
        CONTINUE WHEN kinds IS NULL;
        IF chosen IS NULL OR (low IS NOT NULL AND high IS NOT NULL AND (chosen[2] IS NULL OR chosen[3] IS NULL)) THEN
            chosen := ARRAY['<' || kinds || path, low::text, greatest(low, high)::text];
            chosen[3] := CASE WHEN high IS NOT NULL THEN chosen[3] END;
        END IF;
    END LOOP;
    RETURN chosen;
END
$$;
COMMENT ON FUNCTION filter_span IS 'Between what a filter wants something, null if it is not found by that: how texts are compared '
    'with a path of the payload, and the lowest and the highest one that may do. See broker/filters/access.py.';

CREATE FUNCTION filter_point(tenant text, place text, path text, point numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT
RETURN filter_key(tenant, place, path, '')::numeric * 1e60 + point;
COMMENT ON FUNCTION filter_point IS 'Where something is under a path, beside all that is under others: subscriptions of a name, or of '
    'patterns with a key, of one tenant, of those without one (empty), or of all (null). Points are within 1e50 of zero.';

CREATE FUNCTION filter_range(tenant text, name text, filter json) RETURNS numrange LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
COST 1000 SET search_path FROM CURRENT AS $$
DECLARE
    span text[] := filter_span(filter);
    place text := coalesce(pattern_key(name), name);
BEGIN
    RETURN numrange(
        filter_point(tenant, place, span[1], coalesce(span[2]::numeric, -1e50)),
        filter_point(tenant, place, span[1], coalesce(span[3]::numeric, 1e50)), '[]'
    );
END
$$;
COMMENT ON FUNCTION filter_range IS 'The points between which a subscription with a filter wants something.';

ALTER TABLE subscriptions ADD COLUMN found_by text COLLATE "C" NOT NULL
    GENERATED ALWAYS AS (coalesce((filter_access(filter))[1], (filter_span(filter))[1], '')) STORED;
COMMENT ON COLUMN subscriptions.found_by IS
    'How texts are compared with which path of the payload, if it is found by that and a value or a span; else empty.';

CREATE INDEX subscriptions_of_span ON subscriptions USING gist (filter_range(NULL, name, filter))
    WHERE starts_with(found_by, '<') AND until IS NULL AND consumed_by IS NULL;
CREATE INDEX subscriptions_of_tenants_span ON subscriptions USING gist (filter_range(coalesce(tenant_id, ''), name, filter))
    WHERE starts_with(found_by, '<') AND until IS NULL AND consumed_by IS NULL;

-- The look-ups by a name, or a key of patterns, are by this column now; those of the version before are by the column that
-- it takes the place of, and read more.
DROP INDEX subscriptions_of_name, subscriptions_of_pattern, subscriptions_of_tenant, subscriptions_of_tenants_pattern,
    subscriptions_filtered_of_pattern, subscriptions_filtered_of_tenants_pattern;
CREATE INDEX subscriptions_of_name ON subscriptions (name, found_by, coalesce(until, 9223372036854775807))
    WHERE consumed_by IS NULL;
CREATE INDEX subscriptions_of_pattern
    ON subscriptions (pattern_key(name), found_by, coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND consumed_by IS NULL;
CREATE INDEX subscriptions_of_tenant
    ON subscriptions (coalesce(tenant_id, ''), name, found_by, coalesce(until, 9223372036854775807))
    WHERE consumed_by IS NULL;
CREATE INDEX subscriptions_of_tenants_pattern
    ON subscriptions (coalesce(tenant_id, ''), pattern_key(name), found_by, coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND consumed_by IS NULL;
CREATE INDEX subscriptions_filtered_of_pattern
    ON subscriptions (pattern_key(name), found_by, coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND found_by <> '' AND consumed_by IS NULL;
CREATE INDEX subscriptions_filtered_of_tenants_pattern
    ON subscriptions (coalesce(tenant_id, ''), pattern_key(name), found_by, coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND found_by <> '' AND consumed_by IS NULL;
