"""Partitions in PostgreSQL: each holds the signals of a range of ids, and so of time, with their deliveries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements

_AHEAD = 2
"""How many unused partitions are kept ready."""


class _Sql(Statements, file="partitions.sql"):
    limit_maintenance: Statement
    try_maintenance: Statement
    lock: Statement
    list: Statement
    last_number: Statement
    gap: Statement
    size: Statement
    make_tables: Statement
    attach_tables: Statement
    insert: Statement
    insert_late: Statement
    note_use: Statement
    over: Statement
    lock_numbering: Statement
    jump: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A range of ids.

    Args:
        first_id: The first id of the range.
        next_id: The first id after the range.
        opened_at: When its first id was given; None if it is unused.
        closed_at: When its last id was given; None if it is open or unused.
        emptied_at: When it was last emptied of all signals but those still owed.
    """

    first_id: int
    next_id: int
    opened_at: datetime | None
    closed_at: datetime | None
    emptied_at: datetime | None


class PartitionStore:
    """Creates partitions, ahead of the numbering and for late signals, and closes those whose period is over."""

    def __init__(self, on: Database | Session) -> None:
        self._on = on

    async def all(self) -> list[Partition]:
        """Return every partition in ascending order of ids."""
        return [read_partition(row) for row in await self._on.fetch(_Sql.list)]

    async def ahead(self) -> int:
        """Return how many unused partitions are ready."""
        last = await self._on.fetchval(_Sql.last_number)
        return sum(partition.first_id > last for partition in await self.all())

    async def cover(self, ids: Collection[int]) -> bool:
        """Create the missing partitions for signals with these *ids*; return whether every id is covered now."""
        async with self._on.transaction() as session:
            await lock_partitions(session)
            for signal_id in sorted(ids):
                gap = await session.fetchrow(_Sql.gap, signal_id=signal_id)
                if gap is not None and not await _fill(session, gap, signal_id):
                    return False
        return True

    async def keep_ahead(self) -> None:
        """Note which partitions were opened and used up, and create new ones until two are ready."""
        async with self._on.transaction() as session:
            await lock_partitions(session)
            last = await session.fetchval(_Sql.last_number)
            await session.execute(_Sql.note_use, last_number=last)
            while await PartitionStore(session).ahead() < _AHEAD:
                await _append(session, last)

    async def close(self, period: timedelta) -> bool:
        """Close the open partition if it was opened at least a *period* ago; return whether it was closed.

        The numbering goes on in the next partition, which has to exist. An unused partition stays as it is.
        """
        if await self._on.fetchrow(_Sql.over, period=period.total_seconds()) is None:
            return False
        async with self._on.transaction() as session:
            await lock_partitions(session)
            await session.execute(_Sql.lock_numbering)
            last = await session.fetchval(_Sql.last_number)
            over = await session.fetchrow(_Sql.over, period=period.total_seconds())
            if over is None or not over["first_id"] <= last < over["next_id"] - 1:
                return False  # it is used up, or another process has closed it
            await session.execute(_Sql.jump, first_id=over["first_id"], next_id=over["next_id"], last_number=last)
        return True


@asynccontextmanager
async def maintenance(database: Database, *, timeout: timedelta) -> AsyncIterator[Session | None]:
    """Lend a session that maintains the partitions, to one process at a time; the others get None.

    Each of its statements may take *timeout*. A process that hangs loses the session after a minute.
    """
    async with database.dedicated_session(timeout=timeout) as session:
        await session.execute(_Sql.limit_maintenance)
        yield session if await session.fetchval(_Sql.try_maintenance) else None


async def lock_partitions(session: Session) -> None:
    """Lock the list of partitions until the end of the transaction."""
    await session.execute(_Sql.lock)


async def _append(session: Session, past: int) -> None:
    """Create the partition after the last one; it reaches beyond the id *past*, which may be far ahead."""
    partitions = await PartitionStore(session).all()
    first_id = partitions[-1].next_id if partitions else 1
    next_id = max(first_id, past + 1) + await _size(session)
    await make_tables(session, first_id)
    await attach_tables(session, first_id, next_id)
    await session.execute(_Sql.insert, first_id=first_id, next_id=next_id)


async def _fill(session: Session, gap: Row, signal_id: int) -> bool:
    """Create a partition for the *gap* that *signal_id* is in; return whether that is possible."""
    if gap["next_id"] is None:
        await _append(session, signal_id)
    elif gap["first_id"] <= signal_id:
        await make_tables(session, gap["first_id"])
        await attach_tables(session, gap["first_id"], gap["next_id"])
        await session.execute(_Sql.insert_late, first_id=gap["first_id"], next_id=gap["next_id"])
    else:
        return False
    return True


async def _size(session: Session) -> int:
    last = await session.fetchval(_Sql.last_number)
    return int(await session.fetchval(_Sql.size, last_number=last))


async def make_tables(session: Session, first_id: int) -> None:
    """Create the tables of the partition that begins at *first_id*, not yet attached."""
    await session.execute(_Sql.make_tables.naming(first_id=first_id))


async def attach_tables(session: Session, first_id: int, next_id: int) -> None:
    """Attach those tables as a partition of the ids before *next_id*."""
    await session.execute(_Sql.attach_tables.naming(first_id=first_id, next_id=next_id))


def read_partition(row: Row) -> Partition:
    """Return the partition in a row of ``blocks``."""
    return Partition(
        first_id=row["first_id"],
        next_id=row["next_id"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        emptied_at=row["emptied_at"],
    )
