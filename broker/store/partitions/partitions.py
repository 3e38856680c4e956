"""Blocks in PostgreSQL: ranges of ids, and so of time, that signals and all that belongs to them are partitioned by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import load

_SQL = load("broker.store.partitions", "partitions")
_AHEAD = 2
"""How many partitions that no id was given in are kept ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A range of ids.

    Args:
        first_id: The first one.
        next_id: The first one after it.
        opened_at: When the first id in it was given; None: none was yet.
        closed_at: Since when no more ids in it are given; None: it is open, or was not opened yet.
        emptied_at: When it was last emptied, but for what was still owed.
    """

    first_id: int
    next_id: int
    opened_at: datetime | None
    closed_at: datetime | None
    emptied_at: datetime | None


class PartitionStore:
    """Makes partitions, ahead of the numbering and for what comes late, and closes those whose period is over."""

    def __init__(self, on: Database | Session) -> None:
        self._on = on

    async def all(self) -> list[Partition]:
        """Return every partition in ascending order of ids."""
        return [read_partition(row) for row in await self._on.fetch(_SQL.list)]

    async def ahead(self) -> int:
        """Return how many partitions are ready that no id was given in."""
        last = await self._on.fetchval(_SQL.last_number)
        return sum(partition.first_id > last for partition in await self.all())

    async def cover(self, ids: Collection[int]) -> bool:
        """Make the partitions that signals with these ids need and that are not there; return whether all have one now."""
        async with self._on.transaction() as session:
            await session.execute(_SQL.lock)
            for signal_id in sorted(ids):
                gap = await session.fetchrow(_SQL.gap, signal_id)
                if gap is not None and not await _fill(session, gap, signal_id):
                    return False
        return True

    async def keep_ahead(self) -> None:
        """Note which partitions were opened and used up, and make new ones, so that two are ready."""
        async with self._on.transaction() as session:
            await session.execute(_SQL.lock)
            last = await session.fetchval(_SQL.last_number)
            await session.execute(_SQL.note_use, last)
            while await PartitionStore(session).ahead() < _AHEAD:
                await _append(session, last)

    async def close(self, period: timedelta) -> bool:
        """Close the open partition if it was opened a *period* ago or longer; return whether it was.

        The numbering goes on with the next partition, which has to be there. A partition without ids stays as it is.
        """
        if await self._on.fetchrow(_SQL.over, period.total_seconds()) is None:
            return False
        async with self._on.transaction() as session:
            await session.execute(_SQL.lock)
            await session.execute(_SQL.lock_numbers)
            last = await session.fetchval(_SQL.last_number)
            over = await session.fetchrow(_SQL.over, period.total_seconds())
            if over is None or not over["first_id"] <= last < over["next_id"] - 1:
                return False  # it is used up, or somebody else was faster
            await session.execute(_SQL.jump, over["first_id"], over["next_id"], last)
        return True


async def _append(session: Session, past: int) -> None:
    """Make the partition after the last one; it reaches beyond the number *past*, whoever moved the numbering there."""
    partitions = await PartitionStore(session).all()
    first_id = partitions[-1].next_id if partitions else 1
    next_id = max(first_id, past + 1) + await _size(session)
    await make_tables(session, first_id)
    await attach_tables(session, first_id, next_id)
    await session.execute(_SQL.insert, first_id, next_id)


async def _fill(session: Session, gap: Row, signal_id: int) -> bool:
    """Make a partition of the *gap* that *signal_id* is in; return whether that is possible."""
    if gap["next_id"] is None:
        await _append(session, signal_id)
    elif gap["first_id"] <= signal_id:
        await make_tables(session, gap["first_id"])
        await attach_tables(session, gap["first_id"], gap["next_id"])
        await session.execute(_SQL.insert_late, gap["first_id"], gap["next_id"])
    else:
        return False
    return True


async def _size(session: Session) -> int:
    return int(await session.fetchval(_SQL.size, await session.fetchval(_SQL.last_number)))


async def make_tables(session: Session, first_id: int) -> None:
    """Make the tables of the partition that begins there; nobody sees them yet."""
    await session.execute(_SQL.make_tables.format(first_id=first_id))


async def attach_tables(session: Session, first_id: int, next_id: int) -> None:
    """Make partitions of them, for ids before *next_id*."""
    await session.execute(_SQL.attach_tables.format(first_id=first_id, next_id=next_id))


def read_partition(row: Row) -> Partition:
    """Return the partition in a row of ``partitions``."""
    return Partition(
        first_id=row["first_id"],
        next_id=row["next_id"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        emptied_at=row["emptied_at"],
    )
