-- The descriptions of tables and columns, in the words of the glossary. Tables and columns keep their names.

COMMENT ON SEQUENCE signal_ids IS
    'One ascending sequence for signals and for the creation and deletion of subscriptions, so that their order is known.';
COMMENT ON SEQUENCE signal_positions IS 'The order in which signals became visible; see the statement insert_signals.';
COMMENT ON SEQUENCE turns IS
    'The numbers in column turn. A signal has the same number in all ordering groups of its key; a session takes them under the lock of the key.';

COMMENT ON COLUMN attempts.steps IS 'How each step of the attempt ended.';

COMMENT ON TABLE audit_events IS 'Changes of the administration, with their authors; written in the transaction of the change.';
COMMENT ON COLUMN audit_events.subject_id IS 'The id of the changed row; the type says in which table.';
COMMENT ON COLUMN audit_events.before IS 'The subject before the change, without secrets; null if it was created.';
COMMENT ON COLUMN audit_events.after IS 'The subject after the change, without secrets; null if it was deleted.';

COMMENT ON TABLE blocks IS
    'Partitions: ranges of ids, and so of time. Signals, matches, deliveries and attempts have a table for each, named by the first id.';
COMMENT ON COLUMN blocks.next_id IS 'The first id after the partition.';
COMMENT ON COLUMN blocks.last_id IS 'The last id that was given in the partition; null until it is closed.';
COMMENT ON COLUMN blocks.opened_at IS 'When the first id in the partition was given; null if none was.';
COMMENT ON COLUMN blocks.closed_at IS 'Since when no more ids in the partition are given.';
COMMENT ON COLUMN blocks.emptied_at IS 'When the partition was last detached, except for signals that were still owed.';

COMMENT ON TABLE circuits IS 'Webhooks that seem to be down: a row appears with the first failure and goes with the next success.';
COMMENT ON COLUMN circuits.failures IS 'The number of failures since the last success.';
COMMENT ON COLUMN circuits.openings IS 'How often the circuit opened since the last success.';
COMMENT ON COLUMN circuits.retry_at IS 'When the target may be tried again; null if the circuit is closed.';
COMMENT ON COLUMN circuits.probing_until IS 'Until when the single attempt that tries the target again may take.';

COMMENT ON COLUMN deliveries.attempts IS 'The number of attempts begun; messages about earlier ones are out of date.';
COMMENT ON COLUMN deliveries.due_at IS
    'parked: when the next attempt is due, null while the delivery waits for an event (see reason); pending: when it is rescued.';
COMMENT ON COLUMN deliveries.reason IS 'Why the delivery is parked, dead or cancelled.';
COMMENT ON COLUMN deliveries.redriven IS 'The number of attempts before the last redrive: the schedule starts over after them.';
COMMENT ON COLUMN deliveries.steps_done IS 'The number of steps that have succeeded; the next attempt continues after them.';
COMMENT ON COLUMN deliveries.ordering_key IS
    'For ordered subscriptions: the deliveries with one key are an ordering group, delivered one after the other.';
COMMENT ON COLUMN deliveries.turn IS
    'The sequence number in the ordering group; null while an earlier signal may still be recorded, or before the signal''s moment.';
COMMENT ON COLUMN deliveries.app IS 'The app of the handler, whose queue the attempts wait in; empty for other targets.';

COMMENT ON TABLE endpoint_days IS
    'The number of signals of a name that came in by signal endpoints on a day (UTC), and the range of their ids: totals without counting.';
COMMENT ON TABLE expected_signals IS
    'Pending records: signals with an ordering key whose throw was answered and that are not recorded yet. Later signals of the key wait for them.';

COMMENT ON TABLE gates IS 'The admission of each subscription. A session that decides about its deliveries locks the row.';
COMMENT ON COLUMN gates.held IS 'Whether deliveries may be waiting for an event.';
COMMENT ON COLUMN gates.slot_at IS 'max_per_second: the first moment that is not reserved.';
COMMENT ON COLUMN gates.spent_at IS 'max_per_second: until when the admitted attempts use up the rate.';
COMMENT ON COLUMN gates.catch_up IS 'Deliveries per second after a pause; null begins slowly and speeds up.';
COMMENT ON COLUMN gates.caught_up IS 'The number of deliveries released since the last pause ended, the last of them at caught_up_at.';

COMMENT ON TABLE ledger_deltas IS
    'Changes of the counts, written by each statement. Rows are only appended, so writers never wait; the scheduler folds them into ledger_tallies.';
COMMENT ON COLUMN ledger_deltas.counted IS
    'recorded: signals (of subscription 0); matched: deliveries owed; or a state: deliveries in it.';
COMMENT ON TABLE ledger_tallies IS 'The counts without ledger_deltas. Subscription 0 stands for all subscriptions.';
COMMENT ON TABLE matches IS
    'The subscriptions that a signal is owed to, written when it was recorded or replayed. Independent of deliveries, so that the ledger can fail.';
COMMENT ON TABLE places IS
    'max_in_flight: the concurrency slots that are taken. The slot of a deliverer that was killed is free again after a time.';

COMMENT ON TABLE retired_blocks IS
    'Detached partitions, with tables called retired_..._<number>: nothing reads them until they are archived and dropped.';
COMMENT ON COLUMN retired_blocks.kept IS 'Signals that are still in service; the detached table has only a copy.';

COMMENT ON COLUMN signals.reach IS 'The tenants that a broadcast was limited to; null if it was not limited.';
COMMENT ON COLUMN signals.payload IS 'JSON text as it was sent; text, because json and jsonb would refuse or rewrite some of it.';
COMMENT ON COLUMN signals.types IS 'The types of the variables that cannot be inferred from the payload (JSON text).';
COMMENT ON COLUMN signals.recorded_at IS 'Ascends with the position.';
COMMENT ON COLUMN signals.state IS 'scheduled: the deliveries are parked until deliver_at, and taps have not got the signal.';
COMMENT ON COLUMN signals.due_at IS
    'scheduled: deliver_at, or, once the signal was taken to be published to the taps, when that is tried again.';
COMMENT ON COLUMN signals.position IS
    'The place in the order of recording. Lists follow it, so a reader that continues after a page misses no signal.';

COMMENT ON COLUMN subscriptions.since IS 'The number of its creation in signal_ids: it gets later signals only.';
COMMENT ON COLUMN subscriptions.until IS 'The number of its deletion in signal_ids: it gets earlier signals only.';
COMMENT ON COLUMN subscriptions.steps IS 'Several targets, delivered to in order, in place of one.';
COMMENT ON COLUMN subscriptions.disabled_because IS 'Why it gets no signals until it is resumed, for example a target that answered 410.';
COMMENT ON COLUMN subscriptions.previous_secret IS 'Signs beside the secret until previous_secret_until.';
COMMENT ON COLUMN subscriptions.ordered IS 'Whether signals with one ordering key are delivered one after the other.';
COMMENT ON COLUMN subscriptions.head_of_line IS 'Whether the deliveries behind a dead one wait until it is redriven, or continue.';

COMMENT ON TABLE webhook_keys IS 'The product''s keys, which sign webhooks as v1a (ed25519).';
COMMENT ON COLUMN webhook_keys.private_key IS 'Sealed, like the secrets of subscriptions.';
COMMENT ON COLUMN webhook_keys.valid_until IS 'When it stops signing; null until it is rotated.';
