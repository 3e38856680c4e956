"""Detached partitions in PostgreSQL: old partitions without what is still owed, to be archived and dropped.

A partition is emptied in one short transaction that locks out all others: its tables are detached, and what is still
owed is copied to new ones. Other sessions do not see the detached tables, which never change: they can be archived,
subtracted from the ledger and dropped without haste, and once more after a crash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.deliveries import Delivery
from broker.errors import StoreUnavailable
from broker.signals import Signal
from broker.store.partitions.copies import Copies, drop_left_over
from broker.store.partitions.partitions import Partition, attach_tables, lock_partitions, make_tables, read_partition
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_delivery, read_signal

_MOST_OWED = 5_000
_MOST_BYTES = 32_000_000
"""With more bytes of owed payloads, too, what stays of a partition is copied before it is detached."""
_MOST_ROWS = 20_000
"""With as many deliveries and attempts of owed signals, too: those that are not owed are copied with them."""
_MOST_COPIED = 30_000
_MOST_BYTES_COPIED = 4_000_000_000
_MOST_ROWS_COPIED = 60_000
"""With more than that a partition stays as it is: all of these rows are looked at while others are locked out."""
_WORTH = 10
"""What part of the signals that stay has to be dropped for that, at least: a tenth."""


class _Sql(Statements, file="detached.sql"):
    due: Statement
    before: Statement
    owed: Statement
    size: Statement
    rows: Statement
    droppable: Statement
    count: Statement
    note_emptied: Statement
    limit_transaction: Statement
    lock_tables: Statement
    lock_parents: Statement
    detach: Statement
    detach_tables: Statement
    keep: Statement
    insert_emptied: Statement
    list: Statement
    signals: Statement
    deliveries: Statement
    attempts: Statement
    subtract_from_ledger: Statement
    subtract_from_days: Statement
    forget_wide: Statement
    drop_tables: Statement
    lock_forgettable: Statement
    forget_subscriptions: Statement
    forget_tallies: Statement
    oldest: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedPartition:
    """A partition that was detached and not dropped yet.

    Args:
        number: Its number, which its tables have in their names.
        first_id: The first id of its range.
        last_id: The last id of its range.
        detached_at: When it was detached.
    """

    number: int
    first_id: int
    last_id: int
    detached_at: datetime


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
    """Empties partitions, reads and drops the detached ones; for one process at a time.

    Args:
        on: Where they are.
        most_owed: With this many owed deliveries or more, what stays is copied beforehand: copying locks out others.
        most_copied: With this many owed deliveries or more a partition stays as it is.
        most_rows_copied: So it does with this many deliveries and attempts of signals that are owed, or more.
    """

    def __init__(
        self,
        on: Database | Session,
        *,
        most_owed: int = _MOST_OWED,
        most_copied: int = _MOST_COPIED,
        most_rows_copied: int = _MOST_ROWS_COPIED,
    ) -> None:
        self._on = on
        self._most_owed = most_owed
        self._most_copied = most_copied
        self._most_rows_copied = most_rows_copied

    async def due(self, retention: timedelta, *, every: timedelta = timedelta()) -> list[Partition]:
        """Return the partitions with only signals older than *retention*, unless emptied less than *every* ago."""
        rows = await self._on.fetch(_Sql.due, retention=retention.total_seconds(), every=every.total_seconds())
        return [read_partition(row) for row in rows]

    async def clean(self) -> None:
        """Drop what a process left behind that was killed while it emptied a partition."""
        await drop_left_over(self._on)

    async def empty(self, partition: Partition, *, retention: timedelta, dead: timedelta) -> bool:
        """Detach *partition* and keep the signals that are still owed in a new one; return whether that was possible.

        Returns False if too much is still owed: pending or parked deliveries, those that died less than *dead* ago, and
        signals scheduled for less than *retention* ago or later. An emptied partition just before it is merged with it,
        so that deliveries owed for long do not leave many partitions behind.

        Raises:
            StoreUnavailable: Other sessions held the locks; nothing was changed.
        """
        before = await self._on.fetchrow(_Sql.before, first_id=partition.first_id)
        groups = [[partition]] if before is None else [[read_partition(before), partition], [partition]]
        for group in groups:
            owed = await _owed(self._on, group, retention, dead, self._most_owed)
            if owed is None:
                continue
            if owed and len(group) == 1 and not await self._droppable(partition, owed):
                await self._on.execute(_Sql.note_emptied, first_id=partition.first_id)
                return True
            return await self._detach_partitions(group, retention, dead)
        return await self._detach_copied(partition, retention, dead)

    async def _droppable(self, partition: Partition, owed: Sequence[int]) -> bool:
        found = await self._on.fetchval(
            _Sql.droppable, first_id=partition.first_id, next_id=partition.next_id, owed=owed
        )
        return bool(found)

    async def _detach_partitions(self, group: Sequence[Partition], retention: timedelta, dead: timedelta) -> bool:
        first, last = group[0], group[-1]
        async with self._on.transaction() as session:
            await _lock_out(session, group)
            owed = await _owed(session, group, retention, dead, self._most_owed)  # from here on nothing changes
            if owed is None:
                return False
            numbers = [await _detach(session, partition, owed) for partition in group]
            if owed:
                await make_tables(session, first.first_id)
                for number in numbers:
                    await session.execute(_Sql.keep.naming(number=number, first_id=first.first_id))
                await _attach_emptied(session, first, last)
        return True

    async def _detach_copied(self, partition: Partition, retention: timedelta, dead: timedelta) -> bool:
        """Detach *partition* once copies of what stays of it are made, so that others wait for the latest changes only.

        Return whether that was possible, and worth it.
        """
        most_rows = self._most_rows_copied
        owed = await _owed(
            self._on,
            [partition],
            retention,
            dead,
            self._most_copied,
            most_bytes=_MOST_BYTES_COPIED,
            most_rows=most_rows,
        )
        if owed is None:
            return False
        bounds = {"first_id": partition.first_id, "next_id": partition.next_id}
        if await self._on.fetchval(_Sql.count, **bounds) - len(owed) < max(1, len(owed) / _WORTH):
            await self._on.execute(_Sql.note_emptied, first_id=partition.first_id)
            return True
        copies = Copies(self._on, partition)
        try:
            await copies.make(owed)
            async with self._on.transaction() as session:
                await _lock_out(session, [partition])
                owed = await _owed(
                    session, [partition], retention, dead, 2 * self._most_copied, most_bytes=None, most_rows=None
                )
                kept = None if owed is None else await copies.catch_up(session, owed, most=self._most_owed)
                if kept is None:  # copying all of it again at once would end so, too
                    await session.execute(_Sql.note_emptied, first_id=partition.first_id)
                    return False
                await _detach(session, partition, kept)
                await copies.take_place(session)
                await _attach_emptied(session, partition, partition)
        finally:
            await copies.drop()
        return True

    async def all(self) -> list[DetachedPartition]:
        """Return the detached partitions that are not dropped yet, in the order in which they were detached."""
        return [DetachedPartition(**row) for row in await self._on.fetch(_Sql.list)]

    async def pages(self, partition: DetachedPartition) -> AsyncIterator[list[DetachedSignal]]:
        """Yield the signals that *partition* would drop, in ascending order of ids, in pages of some megabytes."""
        number, after_id = partition.number, 0
        while rows := await self._on.fetch(_Sql.signals.naming(number=number), after_id=after_id):
            ids = [row["id"] for row in rows]
            attempts = defaultdict(list)
            for row in await self._on.fetch(_Sql.attempts.naming(number=number), signal_ids=ids):
                attempts[row["signal_id"], row["subscription_id"]].append(row)
            deliveries = defaultdict(list)
            for row in await self._on.fetch(_Sql.deliveries.naming(number=number), signal_ids=ids):
                key = row["signal_id"], row["subscription_id"]
                deliveries[row["signal_id"]].append(read_delivery(row, attempts[key]))
            yield [DetachedSignal(signal=read_signal(row), deliveries=deliveries[row["id"]]) for row in rows]
            after_id = ids[-1]

    async def drop(self, partition: DetachedPartition) -> int:
        """Drop *partition* and subtract it from the ledger; return how many signals were dropped."""
        number = partition.number
        async with self._on.transaction() as session:
            dropped = await session.fetchval(_Sql.subtract_from_ledger.naming(number=number))
            await session.execute(_Sql.subtract_from_days.naming(number=number))
            await session.execute(_Sql.forget_wide.naming(number=number))
            await session.execute(_Sql.drop_tables.naming(number=number))
        return int(dropped)

    async def forget_subscriptions(self, *, at_once: int) -> None:
        """Delete the subscriptions that ended before every signal that is kept, some in each transaction."""
        after = 0
        while True:
            async with self._on.transaction() as session:
                rows = await session.fetch(_Sql.lock_forgettable, after=after, limit=at_once)
                ids = [row["subscription_id"] for row in rows]
                await session.execute(_Sql.forget_subscriptions, subscription_ids=ids)
            if len(ids) < at_once:
                break
            after = ids[-1]
        await self._on.execute(_Sql.forget_tallies)

    async def oldest(self) -> float:
        """Return the age of the oldest signal in seconds; 0 without any."""
        return float(await self._on.fetchval(_Sql.oldest))


async def _lock_out(session: Session, group: Sequence[Partition]) -> None:
    """Lock out all others until the end of the transaction, which must be soon."""
    await session.execute(_Sql.limit_transaction)
    await lock_partitions(session)
    for partition in group:
        await session.execute(_Sql.lock_tables.naming(first_id=partition.first_id))
    await session.execute(_Sql.lock_parents)


async def _attach_emptied(session: Session, first: Partition, last: Partition) -> None:
    """Attach the tables of what stays of the partitions from *first* to *last*."""
    await attach_tables(session, first.first_id, last.next_id)
    await session.execute(
        _Sql.insert_emptied,
        first_id=first.first_id,
        next_id=last.next_id,
        opened_at=first.opened_at,
        closed_at=last.closed_at,
    )


async def _owed(
    on: Database | Session,
    group: Sequence[Partition],
    retention: timedelta,
    dead: timedelta,
    most_owed: int,
    *,
    most_bytes: int | None = _MOST_BYTES,
    most_rows: int | None = _MOST_ROWS,
) -> list[int] | None:
    """Return the signals of adjacent partitions that are still owed; None if they are too much to copy."""
    bounds = {"first_id": group[0].first_id, "next_id": group[-1].next_id}
    rows = await on.fetch(
        _Sql.owed,
        **bounds,
        retention=retention.total_seconds(),
        dead=dead.total_seconds(),
        limit=most_owed,
    )
    owed = sorted({row["signal_id"] for row in rows})
    if len(rows) >= most_owed:
        return None
    if most_bytes is not None and await on.fetchval(_Sql.size, signal_ids=owed) > most_bytes:
        return None
    if most_rows is not None and await on.fetchval(_Sql.rows, **bounds, signal_ids=owed, limit=most_rows) >= most_rows:
        return None
    return owed


async def _detach(session: Session, partition: Partition, owed: Sequence[int]) -> int:
    """Detach the tables of *partition*; return the number that they have in their names now."""
    kept = [signal_id for signal_id in owed if partition.first_id <= signal_id < partition.next_id]
    number = await session.fetchval(_Sql.detach, first_id=partition.first_id, next_id=partition.next_id, kept=kept)
    if number is None:
        raise StoreUnavailable(f"another process has changed the partition from {partition.first_id}")
    await session.execute(_Sql.detach_tables.naming(first_id=partition.first_id, number=number))
    return int(number)
