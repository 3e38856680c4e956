"""Blocks that are old, in PostgreSQL: emptied of what nobody waits for any more, which is then archived and dropped.

A partition is emptied in one short transaction, in which nobody else can look at it: its tables are detached, and what is
still owed goes on in new ones. Nobody sees the detached tables and they never change, so that they can be archived,
counted out of the books and dropped without haste, and once more after a crash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.deliveries import Delivery
from broker.errors import StoreUnavailable
from broker.signals import Signal
from broker.store.partitions.partitions import Partition, attach_tables, make_tables, read_partition
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import load
from broker.store.rows import read_delivery, read_signal

_SQL = load("broker.store.partitions", "detached")
_BLOCKS = load("broker.store.partitions", "partitions")
_MOST_OWED = 5_000
_MOST_BYTES = 32_000_000
"""A partition in which more deliveries or payloads than that are owed stays as it is: copying them keeps others waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detached:
    """The tables of a partition that was emptied.

    Args:
        number: Theirs.
        first_id: The block's first id.
        last_id: The block's last id.
        retired_at: Since when nobody sees them.
    """

    number: int
    first_id: int
    last_id: int
    retired_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedSignal:
    """A signal that is about to be dropped.

    Args:
        signal: The signal.
        deliveries: Its deliveries, with their attempts.
    """

    signal: Signal
    deliveries: Sequence[Delivery]


class DetachedStore:
    """Empties partitions, reads what was in them, and drops it; for one process at a time."""

    def __init__(self, on: Database | Session) -> None:
        self._on = on

    async def due(self, retention: timedelta, *, every: timedelta = timedelta()) -> list[Partition]:
        """Return partitions whose every signal is older than *retention*, but for those emptied less than *every* ago."""
        rows = await self._on.fetch(_SQL.due, retention.total_seconds(), every.total_seconds())
        return [read_partition(row) for row in rows]

    async def empty(self, partition: Partition, *, retention: timedelta, dead: timedelta) -> bool:
        """Retire what is in *partition*, but for the signals that are owed still; return whether that was possible.

        It is not while very much is owed. Owed are pending and parked deliveries, those that died less than *dead* ago,
        and signals for a moment that is not *retention* ago. An emptied partition before it becomes one with it, so that
        what is owed for long does not make many partitions.

        Raises:
            StoreUnavailable: Others were in the way; everything is as it was.
        """
        before = await self._on.fetchrow(_SQL.before, partition.first_id)
        groups = [[partition]] if before is None else [[read_partition(before), partition], [partition]]
        for group in groups:
            owed = await _owed(self._on, group, retention, dead)
            if owed is None:
                continue
            if owed and len(group) == 1 and not await self._droppable(partition, owed):
                await self._on.execute(_SQL.note_emptied, partition.first_id)
                return True
            return await self._detach_partitions(group, retention, dead)
        return False

    async def _droppable(self, partition: Partition, owed: Sequence[int]) -> bool:
        return bool(await self._on.fetchval(_SQL.droppable, partition.first_id, partition.next_id, owed))

    async def _detach_partitions(self, group: Sequence[Partition], retention: timedelta, dead: timedelta) -> bool:
        first, last = group[0], group[-1]
        async with self._on.transaction() as session:
            await session.execute(_SQL.hurry)
            await session.execute(_BLOCKS.lock)
            for partition in group:
                await session.execute(_SQL.lock_tables.format(first_id=partition.first_id))
            await session.execute(_SQL.lock_parents)
            owed = await _owed(session, group, retention, dead)  # from here on nothing changes
            if owed is None:
                return False
            numbers = [await _detach(session, partition, owed) for partition in group]
            if owed:
                await make_tables(session, first.first_id)
                for number in numbers:
                    await session.execute(_SQL.keep.format(number=number, first_id=first.first_id))
                await attach_tables(session, first.first_id, last.next_id)
                await session.execute(
                    _SQL.insert_emptied, first.first_id, last.next_id, first.opened_at, last.closed_at
                )
        return True

    async def all(self) -> list[Detached]:
        """Return what was detached and not dropped yet, in the order in which it was."""
        return [
            Detached(
                number=row["number"],
                first_id=row["first_id"],
                last_id=row["next_id"] - 1,
                retired_at=row["retired_at"],
            )
            for row in await self._on.fetch(_SQL.list)
        ]

    async def pages(self, detached: Detached) -> AsyncIterator[list[DetachedSignal]]:
        """Yield all that is to be dropped of it, in ascending order of ids, in pages of some megabytes."""
        after = 0
        while rows := await self._on.fetch(_SQL.signals.format(number=detached.number), after):
            ids = [row["id"] for row in rows]
            attempts = defaultdict(list)
            for row in await self._on.fetch(_SQL.attempts.format(number=detached.number), ids):
                attempts[row["signal_id"], row["subscription_id"]].append(row)
            deliveries = defaultdict(list)
            for row in await self._on.fetch(_SQL.deliveries.format(number=detached.number), ids):
                key = row["signal_id"], row["subscription_id"]
                deliveries[row["signal_id"]].append(read_delivery(row, attempts[key]))
            yield [DetachedSignal(signal=read_signal(row), deliveries=deliveries[row["id"]]) for row in rows]
            after = ids[-1]

    async def drop(self, detached: Detached) -> int:
        """Drop it, and take it out of the books; return how many signals it held that did not stay."""
        async with self._on.transaction() as session:
            dropped = await session.fetchval(_SQL.count_out.format(number=detached.number))
            await session.execute(_SQL.count_days_out.format(number=detached.number))
            await session.execute(_SQL.drop_tables.format(number=detached.number))
        return int(dropped)

    async def forget_subscriptions(self, *, limit: int) -> int:
        """Forget at most *limit* subscriptions that ended before all signals that are kept; return how many."""
        async with self._on.transaction() as session:
            ids = [row["subscription_id"] for row in await session.fetch(_SQL.lock_forgettable, limit)]
            await session.execute(_SQL.forget_subscriptions, ids)
            await session.execute(_SQL.forget_tallies)
        return len(ids)

    async def oldest(self) -> float:
        """Return for how many seconds the oldest signal has been there; 0 without any."""
        return float(await self._on.fetchval(_SQL.oldest))


async def _owed(
    on: Database | Session, group: Sequence[Partition], retention: timedelta, dead: timedelta
) -> list[int] | None:
    """Return the signals of adjacent partitions that are owed still; None, if that is too much to copy."""
    rows = await on.fetch(
        _SQL.owed,
        group[0].first_id,
        group[-1].next_id,
        retention.total_seconds(),
        dead.total_seconds(),
        _MOST_OWED,
    )
    owed = sorted({row["signal_id"] for row in rows})
    if len(rows) >= _MOST_OWED or await on.fetchval(_SQL.size, owed) > _MOST_BYTES:
        return None
    return owed


async def _detach(session: Session, partition: Partition, owed: Sequence[int]) -> int:
    """Take the tables of *partition* away from everybody; return their number."""
    kept = [signal_id for signal_id in owed if partition.first_id <= signal_id < partition.next_id]
    number = await session.fetchval(_SQL.retire, partition.first_id, partition.next_id, kept)
    if number is None:
        raise StoreUnavailable(f"the partition from {partition.first_id} was emptied by somebody else")
    await session.execute(_SQL.detach_tables.format(first_id=partition.first_id, number=number))
    return int(number)
