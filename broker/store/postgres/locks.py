"""The table of all advisory locks: what each protects, in the order in which a session takes them.

A session that holds one takes only locks further down the table. SQL files name a lock, as in
``pg_advisory_xact_lock({locks.NUMBERING})``, and the number is filled in when the file is read.

Row locks are taken in this order, those of one table in the order of their keys: ``message_ids``,
``buffered_messages``, ``leases``, ``gates``, ``circuits``, ``subscriptions``, ``matches``, ``deliveries``.
`ORDERING_KEYS` comes after them; a session that holds one locks only waiting deliveries of its groups, which no session
locks before it. Two transactions differ, and cannot meet the others:

- A recording takes `ORDERING_KEYS` first, and then rows of ``subscriptions`` that are `once`: these are never ordered.
- A cancellation (of a scheduled signal, or of a delivery) and an expiry lock deliveries before the `once` subscriptions
  that they free: no attempt of these is due.

A change that sets a `max_in_flight` locks leases after ``gates``, and waits for none of them.

The numbers never change, because the processes of two versions run side by side during an upgrade. PostgreSQL keeps
locks of one number and locks of a pair of numbers apart.
"""

from __future__ import annotations

MIGRATION = 7305001
"""The schema: one process migrates at a time. Held by the session."""

MAINTENANCE = 7305006
"""The maintenance of partitions: one process at a time creates, closes, empties and drops them. Held by the session."""

ADMINISTRATION = 7305003
"""Users, tokens, endpoints, what is done to subscriptions, deliveries and signals by hand, and the audit log: limits
hold, and ids of audit events ascend in the order of the commits."""

PARTITIONS = 7305005
"""The list of partitions: one transaction changes it at a time."""

ORDERING_KEYS = 7305007
"""The sequence of the deliveries with one ordering key. A pair with the key's hash, taken in the order of hashes."""

EXECUTIONS = 7305009
"""Whose an execution is: who subscribes in it sees who did before. A pair with the hash of its id."""

NUMBERING = 7305002
"""The sequence ``signal_ids``: ids ascend with time over all gateways, and a crash gives no id a second time."""

RECORDING = 7305004
"""The sequence ``signal_positions``: positions become visible in ascending order. A recording takes it last."""

INTAKE_BOOKS = 7305008
"""The books of the intake: one scheduler at a time folds them, or judges what is overdue. It takes no other lock."""

MEASURING = 7305010
"""What one scheduler measures for all. Held by a session that takes no other lock."""

SHARDS = 7305011
"""The numbers of shards: one command at a time changes them. Held by a session that takes no other lock."""

BUFFERING = 7305012
"""How many messages are buffered for a tenant: one transaction adds one at a time. A pair with the hash of the tenant.
It takes no other lock."""

EVENTS = 7305013
"""What happened and is not told yet: one scheduler at a time makes events of it. It takes no other lock."""

CONSUMERS = 7305002
"""A consumer of the embedded transport: once its lock is gone, what it was handed out returns to the queue. A pair with
the consumer's number, so it is not the lock `NUMBERING`. Held by a session that takes no other lock."""
