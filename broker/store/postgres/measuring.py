"""Measuring: one process at a time measures for all, for as long as its session lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="measuring.sql"):
    limit: Statement
    begin: Statement
    keep: Statement


class Lease:
    """Shows that this process measures. One that hangs for a minute loses it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def keep(self) -> None:
        """Return if this process still measures; call it before each measurement.

        Raises:
            StoreUnavailable: The session is lost: another process may measure.
        """
        await self._session.execute(_Sql.keep)


@asynccontextmanager
async def measuring(database: Database) -> AsyncIterator[Lease | None]:
    """Lend the lease to one process at a time; the others get None.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    async with database.dedicated_session() as session:
        await session.execute(_Sql.limit)
        yield Lease(session) if await session.fetchval(_Sql.begin) else None
