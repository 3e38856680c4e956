-- Limits of principals ---------------------------------------------------------------------------------------------

-- Tokens and users that are there keep what they could see; new ones say so themselves.
ALTER TABLE tokens ADD COLUMN queues text[], ADD COLUMN untenanted boolean NOT NULL DEFAULT true;
ALTER TABLE users ADD COLUMN queues text[], ADD COLUMN untenanted boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN tokens.queues IS 'Patterns of the queues it may deliver to; null: those of its tenants, without tenants all.';
COMMENT ON COLUMN users.queues IS 'Patterns of the queues it may deliver to; null: those of its tenants, without tenants all.';
COMMENT ON COLUMN tokens.untenanted IS 'Whether it sees what belongs to no tenant, although it is limited to tenants.';
COMMENT ON COLUMN users.untenanted IS 'Whether it sees what belongs to no tenant, although it is limited to tenants.';

ALTER TABLE audit_events ADD COLUMN names text[], ADD COLUMN tenants text[];
COMMENT ON COLUMN audit_events.names IS 'The names that the principal was limited to; null: it was not, or not known.';
COMMENT ON COLUMN audit_events.tenants IS 'The tenants that the principal was limited to; null: it was not, or not known.';

-- What is made reaches no further than who made it -----------------------------------------------------------------

ALTER TABLE endpoints ADD COLUMN tenants text[];
COMMENT ON COLUMN endpoints.tenants IS 'The tenants that its creator was limited to; null: no limit.';

ALTER TABLE subscriptions
    ADD COLUMN created_by text, ADD COLUMN owner_tenants text[], ADD COLUMN owner_untenanted boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN subscriptions.created_by IS 'The principal that made it; null: a worker, or an earlier version.';
COMMENT ON COLUMN subscriptions.owner_tenants IS
    'The tenants that its creator was limited to; null: no limit, or not known. Without a tenant of its own, the subscription belongs to these.';
COMMENT ON COLUMN subscriptions.owner_untenanted IS 'Whether its creator could see what belongs to no tenant.';

-- What a caller of some tenants may see and change; broker/reach.py and broker/subscriptions.py have the rules -------

CREATE FUNCTION belongs_to(tenant_id text, owner_tenants text[]) RETURNS text[] LANGUAGE sql IMMUTABLE
RETURN CASE WHEN tenant_id IS NULL THEN owner_tenants ELSE ARRAY[tenant_id] END;
COMMENT ON FUNCTION belongs_to IS 'The tenants that a subscription belongs to; null: to none.';

CREATE FUNCTION is_owned(tenant_id text, owner_tenants text[], tenants text[], untenanted boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN tenants IS NULL OR CASE
    WHEN tenant_id IS NOT NULL THEN tenant_id = ANY (tenants)
    ELSE coalesce(untenanted AND owner_tenants <@ tenants AND (owner_tenants <> '{}' OR tenants = '{}'), false)
END;
COMMENT ON FUNCTION is_owned IS 'Whether a subscription belongs to a caller of these tenants (null: all) alone.';

CREATE FUNCTION is_seen(tenant_id text, owner_tenants text[], tenants text[], untenanted boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN is_owned(tenant_id, owner_tenants, tenants, untenanted)
    OR (untenanted AND tenant_id IS NULL AND owner_tenants IS NULL);
COMMENT ON FUNCTION is_seen IS 'Whether a caller of these tenants (null: all) may see a subscription.';

CREATE FUNCTION is_readable(scope text, tenant_id text, reach json, tenants text[], untenanted boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN tenants IS NULL OR CASE
    WHEN tenant_id IS NOT NULL THEN tenant_id = ANY (tenants)
    WHEN json_array_length(reach) > 0 THEN reach::jsonb ?| tenants
    ELSE untenanted OR (scope = 'broadcast' AND reach IS NULL)
END;
COMMENT ON FUNCTION is_readable IS 'Whether a caller of these tenants (null: all) may read a signal.';

CREATE FUNCTION is_permitted(name text, is_pattern boolean, names text, patterns text[]) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN names IS NULL OR CASE WHEN is_pattern THEN name = ANY (patterns) ELSE ('.' || name) ~ names END;
COMMENT ON FUNCTION is_permitted IS
    'Whether the regular expression names (null: any) matches the name of a subscription, or patterns holds its pattern.';
