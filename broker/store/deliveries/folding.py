"""Folds the changes of the ledger into its tallies and the statistics, and keeps these small."""

from __future__ import annotations

from datetime import timedelta

from broker.statistics import MINUTES_KEPT
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements

_SIGNALS = 20_000
"""With about how many signals changes are folded at a time, however few changes these are."""
ROOM = 1000
"""How many tenants, how many names, and how many pairs of them a minute or an hour tells apart."""
ROOM_FOR_DETAILS = 10_000
"""How many names with their subscriptions a minute or an hour tells apart."""
_ROWS = 10_000
"""How many rows are forgotten at a time."""
_KINDS = ("all", "name", "signals", "subscription", "tenant")


class _Sql(Statements, file="folding.sql"):
    fold: Statement
    begin_adding: Statement
    add_up: Statement
    end_adding: Statement
    forget: Statement


async def fold(database: Database, *, limit: int) -> int:
    """Fold at most *limit* changes of the books, all in one transaction; return how many there were."""
    return int(
        await database.fetchval(
            _Sql.fold, limit=limit, most_signals=_SIGNALS, most=ROOM, most_detailed=ROOM_FOR_DETAILS
        )
    )


class StatisticsKeeper:
    """Adds minutes up to hours, and forgets what is old.

    Args:
        session: On which that may take minutes, if there is much of it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add_up(self) -> int:
        """Add up each hour that is over; return how many there were."""
        hours = 0
        while await self._add_up_next():
            hours += 1
        return hours

    async def _add_up_next(self) -> bool:
        async with self._session.transaction() as session:
            hour = await session.fetchval(_Sql.begin_adding)
            if hour is None:
                return False
            await session.execute(_Sql.add_up, hour=hour, most=ROOM, most_detailed=ROOM_FOR_DETAILS)
            await session.execute(_Sql.end_adding)
        return True

    async def forget(self, *, retention: timedelta | None) -> int:
        """Forget old figures, those of hours after *retention* (None: never); return how many rows."""
        forgotten = 0
        while rows := await self._forget(retention):
            forgotten += rows
        return forgotten

    async def _forget(self, retention: timedelta | None) -> int:
        return int(
            await self._session.fetchval(
                _Sql.forget,
                kinds=_KINDS,
                minutes_kept=MINUTES_KEPT.total_seconds(),
                hours_kept=None if retention is None else retention.total_seconds(),
                limit=_ROWS,
            )
        )
