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
from broker.targets import PullTarget


class _Sql(Statements, file="backlogs.sql"):
    find: Statement
    longest_leasable: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a subscription has not delivered yet.

    Args:
        parked: How many of these deliveries are parked.
        leasable: How many of them, with a pull target, wait to be leased.
        leased: How many of them are leased at this moment.
        oldest: Since when the oldest of those that are parked or leasable has been owed.
        circuit: Whether the circuit of one of its targets is open, or half open.
    """

    parked: int = 0
    leasable: int = 0
    leased: int = 0
    oldest: datetime | None = None
    circuit: Phase = Phase.CLOSED


class BacklogStore:
    """Tells what subscriptions have not delivered yet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, subscriptions: Sequence[Subscription]) -> Mapping[int, Backlog]:
        """Return the backlog of each of *subscriptions*, by their ids."""
        ids = [subscription.id for subscription in subscriptions]
        pulls = [isinstance(subscription.spec.targets[0], PullTarget) for subscription in subscriptions]
        rows = await self._database.fetch(_Sql.find, subscription_ids=ids, pulls=pulls)
        phases = await read_phases(self._database, subscriptions)
        return {
            row["id"]: Backlog(
                parked=row["parked"],
                leasable=row["leasable"],
                leased=row["leased"],
                oldest=row["oldest"],
                circuit=phases.get(row["id"], Phase.CLOSED),
            )
            for row in rows
        }

    async def longest_leasable(self, *, limit: int) -> dict[int, float]:
        """Return for how many seconds deliveries have waited to be leased, of *limit* subscriptions that wait longest.

        Each has its oldest one, which waits since it was owed or since its last attempt ended. Those that are paused
        do not count.
        """
        rows = await self._database.fetch(_Sql.longest_leasable, limit=limit)
        return {row["subscription_id"]: max(0.0, row["seconds"]) for row in rows}
