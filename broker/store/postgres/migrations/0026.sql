-- The app of a subscription is asked for in one way -----------------------------------------------------------------------

CREATE FUNCTION app_of(kind text, address text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN kind = 'handler' THEN split_part(address, '/', 1) ELSE '' END;
COMMENT ON FUNCTION app_of IS 'The app whose workers make the attempts of a subscription; empty: any deliverer.';
