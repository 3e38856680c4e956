-- Subscriptions are found by what their filters cannot do without -----------------------------------------------------

CREATE FUNCTION filter_access(filter json) RETURNS text[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
DECLARE
    blanks constant text := E'\t\n\x0b\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff';
    path text;
    given jsonb;
    condition jsonb;
    texts jsonb;
    kind text;
    wanted text[];
    chosen text[];
BEGIN
    IF json_typeof(filter) <> 'object' OR filter::text ~* '\\u(0000|d[89a-f])' THEN
        RETURN NULL;
    END IF;
    FOR path, given IN SELECT * FROM jsonb_each(filter::jsonb) LOOP
        CONTINUE WHEN octet_length(path) > 255 OR (path = 'anyOf' AND jsonb_typeof(given) = 'array');
        FOR condition IN
            SELECT * FROM jsonb_array_elements(CASE jsonb_typeof(given) WHEN 'array' THEN given ELSE jsonb_build_array(given) END)
        LOOP
            CONTINUE WHEN jsonb_typeof(condition) <> 'object'
                OR coalesce(nullif(condition -> 'inverted', 'null'), 'false') <> 'false';
            CASE condition ->> 'operator'
                WHEN 'IN' THEN
                    texts := condition -> 'values';
                    CONTINUE WHEN jsonb_typeof(texts) IS DISTINCT FROM 'array'
                        OR jsonb_path_exists(texts, '$[*] ? (@.type() != "string")');
                    wanted := ARRAY(SELECT DISTINCT btrim(v, blanks) FROM jsonb_array_elements_text(texts) AS v WHERE v <> '');
                    kind := '=';
                WHEN 'NUM_EQ' THEN
                    CONTINUE WHEN jsonb_typeof(condition -> 'value') IS DISTINCT FROM 'string'
                        OR condition ->> 'value' !~ '^(0|-?[1-9][0-9]{0,14})$';
                    wanted := ARRAY[condition ->> 'value'];
                    kind := '#';
                ELSE
                    CONTINUE;
            END CASE;
            IF cardinality(wanted) <= 32 AND (chosen IS NULL OR cardinality(wanted) < cardinality(chosen) - 1) THEN
                chosen := (kind || path) || wanted;
            END IF;
        END LOOP;
    END LOOP;
    RETURN chosen;
END
$$;
COMMENT ON FUNCTION filter_access IS 'What a filter is found by, null if it is not: how texts are compared with a path of the '
    'payload, and the values of which one has to be there. See broker/filters/access.py.';

CREATE FUNCTION filter_key(tenant text, place text, path text, value text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashtextextended(
    coalesce('t' || tenant, '') || E'\x1e' || place || E'\x1e' || path || E'\x1e' || value COLLATE "C", 0
);
COMMENT ON FUNCTION filter_key IS 'A value that a filter wants under a path, of subscriptions of a name, or of patterns with a key: '
    'those of one tenant, of those without one (empty), or of all (null).';

-- (ANALYZE computes it with a search path that does not have the other functions.)
CREATE FUNCTION filter_keys(name text, tenant_id text, filter json) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
COST 1000 SET search_path FROM CURRENT AS $$
DECLARE
    access text[] := filter_access(filter);
    place text := coalesce(pattern_key(name), name);
    tenant text := coalesce(tenant_id, '');
    keys bigint[] := '{}';
BEGIN
    FOR at IN 2..coalesce(cardinality(access), 0) LOOP
        keys := keys || filter_key(NULL, place, access[1], access[at]) || filter_key(tenant, place, access[1], access[at]);
    END LOOP;
    RETURN keys;
END
$$;
COMMENT ON FUNCTION filter_keys IS 'The keys of a subscription with a filter: for each value that it wants, in its tenant and in all.';

ALTER TABLE subscriptions ADD COLUMN filter_path text COLLATE "C" NOT NULL
    GENERATED ALWAYS AS (coalesce((filter_access(filter))[1], '')) STORED;
COMMENT ON COLUMN subscriptions.filter_path IS
    'How texts are compared with which path of the payload, if it is found by that and a value; else empty.';

CREATE INDEX subscriptions_of_filter ON subscriptions USING gin (filter_keys(name, tenant_id, filter)) WITH (fastupdate = off)
    WHERE filter_path <> '' AND until IS NULL AND consumed_by IS NULL;

DROP INDEX subscriptions_of_name, subscriptions_of_pattern, subscriptions_of_tenant, subscriptions_of_tenants_pattern;
CREATE INDEX subscriptions_of_name ON subscriptions (name, filter_path, coalesce(until, 9223372036854775807))
    WHERE consumed_by IS NULL;
CREATE INDEX subscriptions_of_pattern
    ON subscriptions (pattern_key(name), filter_path, coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND consumed_by IS NULL;
CREATE INDEX subscriptions_of_tenant
    ON subscriptions (coalesce(tenant_id, ''), name, filter_path, coalesce(until, 9223372036854775807))
    WHERE consumed_by IS NULL;
CREATE INDEX subscriptions_of_tenants_pattern
    ON subscriptions (coalesce(tenant_id, ''), pattern_key(name), filter_path, coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND consumed_by IS NULL;

-- Most patterns have no such filter, and a signal asks for many keys of patterns.
CREATE INDEX subscriptions_filtered_of_pattern
    ON subscriptions (pattern_key(name), filter_path, coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND filter_path <> '' AND consumed_by IS NULL;
CREATE INDEX subscriptions_filtered_of_tenants_pattern
    ON subscriptions (coalesce(tenant_id, ''), pattern_key(name), filter_path, coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND filter_path <> '' AND consumed_by IS NULL;
