-- name: end_former
-- The values that a token had before end with the overlap, if not earlier.
UPDATE former_digests SET valid_until = least(valid_until, now() + make_interval(secs => :overlap)) WHERE {owner} = :token_id;

-- name: keep_former
-- The present value of a token stays good until the overlap is over.
INSERT INTO former_digests (digest, {owner}, valid_until)
SELECT digest, id, now() + make_interval(secs => :overlap) FROM {tokens} WHERE id = :token_id;

-- name: drop_former
DELETE FROM former_digests WHERE {owner} = :token_id AND valid_until <= now();

-- name: replace_digest
UPDATE {tokens} SET digest = :digest WHERE id = :token_id;
