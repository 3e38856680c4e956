-- A once subscription waits for another signal when the one that consumed it has expired, dead as well -----------------

ALTER TABLE subscriptions ADD COLUMN consumed_until timestamptz;
COMMENT ON COLUMN subscriptions.consumed_until IS
    'When the signal that consumed it expires, or its delivery, which was under way then, is looked at next; null: it stays consumed.';
CREATE INDEX subscriptions_consumed_for_a_while ON subscriptions (consumed_until)
    WHERE consumed_by IS NOT NULL AND consumed_until IS NOT NULL;

UPDATE subscriptions s SET consumed_until = g.expires_at
FROM signals g WHERE g.id = s.consumed_by AND g.expires_at IS NOT NULL AND s.until IS NULL;
