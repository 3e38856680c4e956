-- Leases can be returned.
ALTER TABLE leases ADD COLUMN returned boolean;
COMMENT ON COLUMN leases.returned IS 'True if it was returned; it has failed then, as far as versions before know.';
