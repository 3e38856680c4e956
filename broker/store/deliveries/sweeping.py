"""What there is for sweeps to do: mostly nothing, which one statement tells instead of one for each step."""

from __future__ import annotations

from enum import StrEnum

from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements


class Work(StrEnum):
    """What a sweep may find."""

    EXPIRED = "expired"
    """Deliveries whose signals have expired, or `once` subscriptions that such signals consumed."""
    AWAITED = "awaited"
    """Circuits that deliveries wait for."""
    DUE = "due"
    """Parked deliveries whose moment has come."""
    HELD = "held"
    """Subscriptions with deliveries that wait for an event."""
    ORDERED = "ordered"
    """Deliveries that wait in their ordering groups."""
    SCHEDULED = "scheduled"
    """Scheduled signals whose moment has come."""


class _Sql(Statements, file="sweeping.sql"):
    look: Statement


class SweepingStore:
    """Tells what there may be for sweeps to do.

    Args:
        database: Where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> frozenset[Work]:
        """Return what sweeps may find, and nothing that they cannot."""
        row = await self._database.fetchrow(_Sql.look)
        return frozenset(work for work in Work if row is not None and row[work])
