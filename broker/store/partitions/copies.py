"""Copies of what stays of a partition, made while all others work, for the moment at which it is detached."""

from __future__ import annotations

from collections.abc import Sequence

from broker.store.partitions.partitions import Partition
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements

_AT_ONCE = 500
"""How many signals are copied in one statement."""


class _Sql(Statements, file="copies.sql"):
    drop: Statement
    left_over: Statement
    make: Statement
    copy: Statement
    changed: Statement
    copied: Statement
    forget: Statement
    rename: Statement


async def drop_left_over(on: Database | Session) -> None:
    """Drop the copies that a killed process left behind; no process may be making copies meanwhile."""
    for row in await on.fetch(_Sql.left_over):
        await on.execute(_Sql.drop.naming(first_id=row["first_id"]))


class Copies:
    """Copies of signals of one partition, with their matches, deliveries and attempts; for one process at a time.

    Args:
        on: Where the partition is.
        partition: The partition.
    """

    def __init__(self, on: Database | Session, partition: Partition) -> None:
        self._on = on
        self._first_id = partition.first_id

    async def drop(self) -> None:
        """Drop the copies, if there are any."""
        await self._on.execute(_Sql.drop.naming(first_id=self._first_id))

    async def make(self, signal_ids: Sequence[int]) -> None:
        """Copy these signals; what becomes of them meanwhile is caught up with later."""
        await self._on.execute(_Sql.make.naming(first_id=self._first_id))
        await self._copy(self._on, signal_ids)

    async def catch_up(self, session: Session, owed: Sequence[int], *, most: int) -> list[int] | None:
        """Copy again, in the transaction of *session*, what has changed, and what else of *owed* is to stay.

        Nothing changes any more meanwhile. Return the signals that are copied; None: more than *most* would have to be.
        """
        first_id = self._first_id
        changed = [row["signal_id"] for row in await session.fetch(_Sql.changed.naming(first_id=first_id))]
        copied = [row["id"] for row in await session.fetch(_Sql.copied.naming(first_id=first_id))]
        again = sorted({*changed, *set(owed).difference(copied)})
        if len(again) > most:
            return None
        await session.execute(_Sql.forget.naming(first_id=first_id), signal_ids=again)
        await self._copy(session, again)
        return sorted({*copied, *again})

    async def take_place(self, session: Session) -> None:
        """Let the tables of the copies take the names of the partition's, which were detached."""
        await session.execute(_Sql.rename.naming(first_id=self._first_id))

    async def _copy(self, on: Database | Session, signal_ids: Sequence[int]) -> None:
        statement = _Sql.copy.naming(first_id=self._first_id)
        for start in range(0, len(signal_ids), _AT_ONCE):
            await on.execute(statement, signal_ids=signal_ids[start : start + _AT_ONCE])
