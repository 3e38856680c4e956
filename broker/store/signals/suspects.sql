-- name: count
-- How many recorders other than `holder` began to handle each message and did not end; without those that none did.
SELECT key, begun FROM suspects WHERE key = ANY (:keys::text[]) AND holder <> :holder;

-- name: begin
-- Note that `holder` begins to handle the messages. In the order of their keys, to avoid deadlocks.
INSERT INTO suspects AS s (key, holder)
SELECT key, :holder FROM unnest(:keys::text[]) AS key GROUP BY key ORDER BY key
ON CONFLICT (key) DO UPDATE
SET begun = s.begun + (s.holder <> EXCLUDED.holder)::integer, holder = EXCLUDED.holder, noted_at = now();

-- name: end
-- Note that the messages were handled, or that handling them failed without ending the recorder; and forget what is old: its
-- message is gone.
DELETE FROM suspects WHERE key = ANY (:keys::text[]) OR noted_at < now() - interval '1 day';
