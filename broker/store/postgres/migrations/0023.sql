-- Subscriptions are found by what signals ask for -------------------------------------------------------------------

CREATE FUNCTION pattern_key(pattern text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
COST 1000 AS $$
DECLARE
    words text[] := string_to_array(pattern, '.');
    size integer := cardinality(words);
    before integer := 0;
    after integer := 0;
    inner_word text;
BEGIN
    WHILE before < size AND words[before + 1] NOT IN ('*', '#') LOOP
        before := before + 1;
    END LOOP;
    IF before = size THEN
        RETURN NULL;
    END IF;
    WHILE words[size - after] NOT IN ('*', '#') LOOP
        after := after + 1;
    END LOOP;
    inner_word := (array_remove(array_remove(words[before + 1:size - after], '*'), '#'))[1];
    IF inner_word IS NOT NULL THEN
        RETURN array_to_string(words[1:least(before, 2)], '.') || E'\x1f\x1f' || inner_word;
    END IF;
    RETURN array_to_string(words[1:least(before, 8)], '.') || E'\x1f'
        || array_to_string(words[size - least(after, 4) + 1:], '.');
END
$$;
COMMENT ON FUNCTION pattern_key IS 'What a pattern is found by, null for a name: its first words and its last ones, or its first '
    'words and another one between its wildcards. A name has few such keys; see broker/names.py.';

CREATE INDEX subscriptions_of_name ON subscriptions (name, coalesce(until, 9223372036854775807))
    WHERE consumed_by IS NULL;
CREATE INDEX subscriptions_of_pattern ON subscriptions (pattern_key(name), coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND consumed_by IS NULL;
CREATE INDEX subscriptions_of_tenant
    ON subscriptions (coalesce(tenant_id, ''), name, coalesce(until, 9223372036854775807))
    WHERE consumed_by IS NULL;
CREATE INDEX subscriptions_of_tenants_pattern
    ON subscriptions (coalesce(tenant_id, ''), pattern_key(name), coalesce(until, 9223372036854775807))
    WHERE pattern_key(name) IS NOT NULL AND consumed_by IS NULL;
CREATE INDEX subscriptions_of_execution ON subscriptions (execution_id, coalesce(until, 9223372036854775807))
    WHERE execution_id IS NOT NULL AND consumed_by IS NULL;
