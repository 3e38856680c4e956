-- name: is_read_only
-- Whether this session cannot write: the server is a standby, or the role, the database or the server is set to that.
SELECT current_setting('transaction_read_only')::boolean;

-- name: may_take_numbers
-- Whether this role may take numbers from all of these sequences.
SELECT coalesce(bool_and(has_sequence_privilege(name, 'USAGE') OR has_sequence_privilege(name, 'UPDATE')), true)
FROM unnest(:sequences::text[]) AS s (name);
