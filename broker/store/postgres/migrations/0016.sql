-- Deliveries beyond their share of the deliverers' attempts wait here --------------------------------------------

ALTER TABLE gates ADD COLUMN surplus boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN gates.surplus IS 'Whether there may be deliveries that wait for their share of the deliverers'' attempts.';

CREATE INDEX gates_with_surplus ON gates (subscription_id) WHERE surplus;
