"""Expiring in PostgreSQL: what is still owed of a signal when it expires is cancelled, whatever it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from broker.deliveries import DueAttempt
from broker.store.deliveries.admission import free_slots
from broker.store.deliveries.ordering import advance_groups_of
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_due_attempts


class _Sql(Statements, file="expiring.sql"):
    expire: Statement
    free: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """What one sweep came to.

    Args:
        looked: How many deliveries it looked at.
        cancelled: How many of them it cancelled.
        due_attempts: Attempts that may be made now, at deliveries that were next in their ordering groups.
    """

    looked: int = 0
    cancelled: int = 0
    due_attempts: tuple[DueAttempt, ...] = ()


class ExpiringStore:
    """Cancels deliveries of expired signals.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sweep(self, *, limit: int, offset: int = 0, overdue_too: bool, rescue_after: timedelta) -> Expired:
        """Cancel at most *limit* parked or pending deliveries whose signals have expired, the earliest first.

        The first *offset* of them are left out.

        An attempt that is under way ends normally. *overdue_too*: one that should have ended by now counts as
        abandoned, and its delivery is cancelled as well. What the deliveries held up goes on: their ordering groups,
        and those who wait for their concurrency slots. A `once` subscription waits for its next signal.
        """
        # Deliveries are locked and cancelled in a transaction of their own: keys come before deliveries in the order
        # of locks. If the process is killed in between, the groups go on by their own sweep, and leases of slots end.
        rows = await self._database.fetch(_Sql.expire, limit=limit, offset=offset, overdue_too=overdue_too)
        cancelled = read_due_attempts([row for row in rows if row["expired"]])
        if not cancelled:
            return Expired(looked=len(rows))
        keys = [(due.signal_id, due.subscription_id) for due in cancelled]
        async with self._database.transaction() as session:
            await free_slots(session, cancelled)
            due_attempts = await advance_groups_of(session, keys, rescue_after=rescue_after)
        return Expired(looked=len(rows), cancelled=len(cancelled), due_attempts=tuple(due_attempts))

    async def free(self, *, limit: int) -> int:
        """Let `once` subscriptions wait for another signal whose delivery is dead and whose signal has expired.

        At most *limit* subscriptions that signals consumed which have expired are looked at; return how many were.
        """
        return len(await self._database.fetch(_Sql.free, limit=limit))
