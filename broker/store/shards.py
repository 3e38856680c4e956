"""Into how many shards the queues are split: what the topology command writes, and every process reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.topology import SHARDED, Sharding

CHANNEL = "shards_changed"


class _Sql(Statements, file="shards.sql"):
    read: Statement
    write: Statement
    suspend: Statement
    try_lock: Statement


class ShardStore:
    """Knows into how many shards each queue is split.

    Args:
        database: Where that is noted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> dict[str, Sharding]:
        """Return into how many shards each of the queues that can be split is."""
        rows = {row["queue"]: row for row in await self._database.fetch(_Sql.read)}
        return {queue: _read(rows[queue]) if queue in rows else Sharding() for queue in SHARDED}

    async def write(self, queue: str, sharding: Sharding) -> None:
        """Note that *queue* is split as *sharding* says, and tell all processes."""
        await self._database.execute(_Sql.write, queue=queue, published=sharding.published, consumed=sharding.count)

    async def suspend(self, queue: str, *, within: timedelta) -> None:
        """Suspend the consumption of the shards of *queue* that get no messages, and tell all processes.

        After that time, or once the numbers are written, they are consumed again, as far as there are any.
        """
        await self._database.execute(_Sql.suspend, queue=queue, within=within)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[bool]:
        """Keep other commands from changing the numbers during the block; yield whether none does already."""
        async with self._database.dedicated_session() as session:
            yield await session.fetchval(_Sql.try_lock)


def _read(row: Row) -> Sharding:
    return Sharding(row["published"], row["consumed"], row["count"] - row["consumed"])
