-- A recorder says which proof it has got last, so that a queue that merely seems to be empty loses nothing -------------

ALTER TABLE recorders ADD COLUMN proof bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN recorders.proof IS 'The number of the last proof that it was handed out.';
