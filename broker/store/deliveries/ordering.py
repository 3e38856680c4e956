"""Ordering groups in PostgreSQL: deliveries of an ordered subscription with one ordering key go one after the other.

    thrown -> answered -----------> recorded -----------------------> pending -> delivered
              (its record           (it gets its sequence number,     when the one before
              is pending)           unless the record of an earlier   it has ended
                                    throw is pending)

Sequence numbers are in the order of ids, and so in the order in which throws were answered, as far as that can be told:
a throw that was not answered when a later one was recorded comes after it, and does so in every ordering group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from heapq import nsmallest
from itertools import islice

from broker.deliveries import DueAttempt
from broker.store.postgres.database import Database, Session
from broker.store.postgres.rehearsal import rehearse
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_due_attempts

_KEYS = 100
"""How many keys one sweep settles."""
_GROUPS = 200
_LEFT = 20_000
"""How many idle groups are remembered for which there was no room; others are found again."""

Group = tuple[int, str]
"""An ordering group: a subscription's id and an ordering key."""

_START: Group = (0, "")


class _Sql(Statements, file="ordering.sql"):
    note_pending_records: Statement
    lock_keys: Statement
    clear_pending_records: Statement
    assign_sequence: Statement
    advance_groups: Statement
    groups_of: Statement
    next_unnumbered_keys: Statement
    keys_that_are_due: Statement
    join_groups: Statement
    next_groups: Statement
    forget_pending_records: Statement


NEEDED_TO_RECORD = (_Sql.lock_keys, _Sql.clear_pending_records, _Sql.assign_sequence, _Sql.advance_groups)
"""What a recording carries out."""


class OrderingStore:
    """Keeps the pending records, and advances ordering groups that stand still without a reason.

    Args:
        database: Where they are.
        groups: How many ordering groups one sweep looks at.
        keys: How many keys with deliveries without a sequence number.
    """

    def __init__(self, database: Database, *, groups: int = _GROUPS, keys: int = _KEYS) -> None:
        self._database = database
        self._groups = groups
        self._keys = keys
        self._seen_key = ""
        self._seen = _START
        self._left: set[Group] = set()
        """Groups that are idle, and for which there was no room."""

    async def note_pending_records(self, batch: Sequence[tuple[int, str]]) -> list[None]:
        """Note that the throws of these signals (ids, ordering keys) are about to be answered.

        Signals that are thrown later with the same ordering key wait until they are recorded.
        """
        await self._database.execute(
            _Sql.note_pending_records,
            signal_ids=[signal_id for signal_id, _ in batch],
            ordering_keys=[key for _, key in batch],
        )
        return [None] * len(batch)

    async def rehearse_notes(self) -> None:
        """Return if `note_pending_records` would do its work now.

        Raises:
            StoreUnavailable: It would not.
        """
        await rehearse(self._database, [_Sql.note_pending_records])

    async def sweep(self, *, most: int, rescue_after: timedelta) -> list[DueAttempt]:
        """Advance at most *most* ordering groups that stand still although they need not; return the attempts to make.

        Signals for later join their groups when their moment has come, and so do those whose predecessors were recorded
        in another order than expected. Other groups go on after their dead delivery was redriven, say. Each call looks
        at the next few groups that have waiting deliveries.
        """
        keys = await self._unsettled_keys()
        idle = self._left.union(await self._idle_groups())
        if not keys and not idle:
            return []
        chosen = _take_turns(idle, most)
        async with self._database.transaction() as session:
            await lock_keys(session, {*keys, *(key for _, key in chosen)})
            await session.execute(_Sql.join_groups, ordering_keys=keys)
            settled = await assign_sequence(session, keys)
            chosen |= _take_turns(settled - chosen, most - len(chosen))
            due_attempts = await advance_groups(session, chosen, rescue_after=rescue_after)
        self._left = set(islice((idle | settled) - chosen, _LEFT))
        return due_attempts

    async def _unsettled_keys(self) -> list[str]:
        """Return some keys with deliveries that may get a sequence number now, the next ones each time."""
        rows = await self._database.fetch(_Sql.next_unnumbered_keys, after_key=self._seen_key, limit=self._keys)
        self._seen_key = rows[-1]["ordering_key"] if len(rows) == self._keys else ""
        due = await self._database.fetch(_Sql.keys_that_are_due, limit=self._keys)
        return list({row["ordering_key"] for row in (*rows, *due)})

    async def _idle_groups(self) -> list[Group]:
        rows = await self._database.fetch(
            _Sql.next_groups, after_subscription_id=self._seen[0], after_key=self._seen[1], limit=self._groups
        )
        self._seen = (rows[-1]["subscription_id"], rows[-1]["ordering_key"]) if len(rows) == self._groups else _START
        return [(row["subscription_id"], row["ordering_key"]) for row in rows if row["idle"]]

    async def forget_pending_records(self) -> None:
        """Forget those of recorded signals."""
        await self._database.execute(_Sql.forget_pending_records)


def _take_turns(groups: Iterable[Group], most: int) -> set[Group]:
    """Return at most *most* of *groups*, so that subscriptions take turns."""
    turns: Counter[int] = Counter()
    ranked = []
    for group in groups:
        ranked.append((turns[group[0]], group))
        turns[group[0]] += 1
    return {group for _, group in nsmallest(most, ranked)}


async def lock_keys(session: Session, keys: Collection[str]) -> None:
    """Lock ordering keys until the transaction of *session* is over."""
    if keys:
        await session.execute(_Sql.lock_keys, ordering_keys=keys)


async def clear_pending_records(session: Session, signal_ids: Collection[int]) -> None:
    """Note that these signals are recorded."""
    await session.execute(_Sql.clear_pending_records, signal_ids=signal_ids)


async def assign_sequence(session: Session, keys: Collection[str]) -> set[Group]:
    """Give deliveries of locked *keys* their sequence numbers, as far as these are certain; return their groups."""
    rows = await session.fetch(_Sql.assign_sequence, ordering_keys=keys) if keys else []
    return {(row["subscription_id"], row["ordering_key"]) for row in rows}


async def advance_groups(session: Session, groups: Iterable[Group], *, rescue_after: timedelta) -> list[DueAttempt]:
    """Make the next delivery of each of *groups*, whose keys are locked, pending if it may go; return the attempts."""
    pairs = sorted(groups)
    if not pairs:
        return []
    rows = await session.fetch(
        _Sql.advance_groups,
        subscription_ids=[subscription_id for subscription_id, _ in pairs],
        ordering_keys=[key for _, key in pairs],
        rescue_after=rescue_after.total_seconds(),
    )
    return read_due_attempts(rows)


async def advance_groups_of(
    session: Session, deliveries: Collection[tuple[int, int]], *, rescue_after: timedelta
) -> list[DueAttempt]:
    """Advance the ordering groups of *deliveries* (signals, subscriptions) that have ended; return the attempts."""
    if not deliveries:
        return []
    rows = await session.fetch(
        _Sql.groups_of,
        signal_ids=[signal_id for signal_id, _ in deliveries],
        subscription_ids=[subscription_id for _, subscription_id in deliveries],
    )
    groups = {(row["subscription_id"], row["ordering_key"]) for row in rows}
    await lock_keys(session, {key for _, key in groups})
    return await advance_groups(session, groups, rescue_after=rescue_after)
