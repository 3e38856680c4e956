"""Backlogs: what subscriptions have not delivered yet, and whether their targets seem to be down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.circuits import Phase
from broker.store.deliveries.circuits import read_phases
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements
from broker.subscriptions import Subscription


class _Sql(Statements, file="backlogs.sql"):
    find: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a subscription has not delivered yet.

    Args:
        parked: How many of its deliveries are parked.
        oldest: Since when the oldest of them has been owed.
        circuit: Whether the circuit of one of its targets is open, or half open.
    """

    parked: int = 0
    oldest: datetime | None = None
    circuit: Phase = Phase.CLOSED


class BacklogStore:
    """Tells what subscriptions have not delivered yet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, subscriptions: Sequence[Subscription]) -> Mapping[int, Backlog]:
        """Return the backlog of each of *subscriptions*, by their ids."""
        ids = [subscription.id for subscription in subscriptions]
        rows = {row["id"]: row for row in await self._database.fetch(_Sql.find, subscription_ids=ids)}
        phases = await read_phases(self._database, subscriptions)
        return {
            key: Backlog(
                parked=rows[key]["parked"] if key in rows else 0,
                oldest=rows[key]["oldest"] if key in rows else None,
                circuit=phases.get(key, Phase.CLOSED),
            )
            for key in ids
        }
