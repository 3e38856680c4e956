"""Blocks that are old, in PostgreSQL: emptied of what nobody waits for any more, which is then archived and dropped.

A block is emptied in one short transaction, in which nobody else can look at it: its tables are detached, and what is
still owed goes on in new ones. Nobody sees the detached tables and they never change, so that they can be archived,
counted out of the books and dropped without haste, and once more after a crash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.errors import StoreUnavailable
from broker.signals import Signal
from broker.store.blocks import Block, attach_tables, make_tables, read_block
from broker.store.database import Database, Row, Session
from broker.store.rows import read_signal
from broker.store.statements import load

_SQL = load("retired")
_BLOCKS = load("blocks")
_MOST_OWED = 5_000
_MOST_BYTES = 32_000_000
"""A block in which more deliveries or payloads than that are owed stays as it is: copying them keeps others waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """The tables of a block that was emptied.

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
class Bygone:
    """A signal that is about to be dropped.

    Args:
        signal: The signal.
        deliveries: The row of each of its deliveries, with the rows of its attempts.
    """

    signal: Signal
    deliveries: Sequence[tuple[Row, Sequence[Row]]]


class RetiredStore:
    """Empties blocks, reads what was in them, and drops it; for one process at a time."""

    def __init__(self, on: Database | Session) -> None:
        self._on = on

    async def due(self, retention: timedelta, *, every: timedelta = timedelta()) -> list[Block]:
        """Return blocks whose every signal is older than *retention*, but for those emptied less than *every* ago."""
        rows = await self._on.fetch(_SQL.due, retention.total_seconds(), every.total_seconds())
        return [read_block(row) for row in rows]

    async def empty(self, block: Block, *, retention: timedelta, dead: timedelta) -> bool:
        """Retire what is in *block*, but for the signals that are owed still; return whether that was possible.

        It is not while very much is owed. Owed are pending and parked deliveries, those that died less than *dead* ago,
        and signals for a moment that is not *retention* ago. An emptied block before it becomes one with it, so that
        what is owed for long does not make many blocks.

        Raises:
            StoreUnavailable: Others were in the way; everything is as it was.
        """
        before = await self._on.fetchrow(_SQL.before, block.first_id)
        groups = [[block]] if before is None else [[read_block(before), block], [block]]
        for group in groups:
            owed = await _owed(self._on, group, retention, dead)
            if owed is None:
                continue
            if owed and len(group) == 1 and not await self._droppable(block, owed):
                await self._on.execute(_SQL.note_emptied, block.first_id)
                return True
            return await self._retire(group, retention, dead)
        return False

    async def _droppable(self, block: Block, owed: Sequence[int]) -> bool:
        return bool(await self._on.fetchval(_SQL.droppable, block.first_id, block.next_id, owed))

    async def _retire(self, group: Sequence[Block], retention: timedelta, dead: timedelta) -> bool:
        first, last = group[0], group[-1]
        async with self._on.transaction() as session:
            await session.execute(_SQL.hurry)
            await session.execute(_BLOCKS.lock)
            for block in group:
                await session.execute(_SQL.lock_tables.format(first_id=block.first_id))
            await session.execute(_SQL.lock_parents)
            owed = await _owed(session, group, retention, dead)  # from here on nothing changes
            if owed is None:
                return False
            numbers = [await _detach(session, block, owed) for block in group]
            if owed:
                await make_tables(session, first.first_id)
                for number in numbers:
                    await session.execute(_SQL.keep.format(number=number, first_id=first.first_id))
                await attach_tables(session, first.first_id, last.next_id)
                await session.execute(
                    _SQL.insert_emptied, first.first_id, last.next_id, first.opened_at, last.closed_at
                )
        return True

    async def all(self) -> list[Retired]:
        """Return what was retired and not dropped yet, in the order in which it was."""
        return [
            Retired(
                number=row["number"],
                first_id=row["first_id"],
                last_id=row["next_id"] - 1,
                retired_at=row["retired_at"],
            )
            for row in await self._on.fetch(_SQL.list)
        ]

    async def pages(self, retired: Retired) -> AsyncIterator[list[Bygone]]:
        """Yield all that is to be dropped of it, in ascending order of ids, in pages of some megabytes."""
        after = 0
        while rows := await self._on.fetch(_SQL.signals.format(number=retired.number), after):
            ids = [row["id"] for row in rows]
            attempts = defaultdict(list)
            for row in await self._on.fetch(_SQL.attempts.format(number=retired.number), ids):
                attempts[row["signal_id"], row["subscription_id"]].append(row)
            deliveries = defaultdict(list)
            for row in await self._on.fetch(_SQL.deliveries.format(number=retired.number), ids):
                deliveries[row["signal_id"]].append((row, attempts[row["signal_id"], row["subscription_id"]]))
            yield [Bygone(signal=read_signal(row), deliveries=deliveries[row["id"]]) for row in rows]
            after = ids[-1]

    async def drop(self, retired: Retired) -> int:
        """Drop it, and take it out of the books; return how many signals it held that did not stay."""
        async with self._on.transaction() as session:
            dropped = await session.fetchval(_SQL.count_out.format(number=retired.number))
            await session.execute(_SQL.count_days_out.format(number=retired.number))
            await session.execute(_SQL.drop_tables.format(number=retired.number))
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
    on: Database | Session, group: Sequence[Block], retention: timedelta, dead: timedelta
) -> list[int] | None:
    """Return the signals of adjacent blocks that are owed still; None, if that is too much to copy."""
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


async def _detach(session: Session, block: Block, owed: Sequence[int]) -> int:
    """Take the tables of *block* away from everybody; return their number."""
    kept = [signal_id for signal_id in owed if block.first_id <= signal_id < block.next_id]
    number = await session.fetchval(_SQL.retire, block.first_id, block.next_id, kept)
    if number is None:
        raise StoreUnavailable(f"the block from {block.first_id} was emptied by somebody else")
    await session.execute(_SQL.detach_tables.format(first_id=block.first_id, number=number))
    return int(number)
