"""What can be leased: deliveries to pull targets that are owed, and that no caller has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from broker.jsontext import write_fast
from broker.limits import HORIZON, LATENESS
from broker.reach import Reach
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import SubscriptionReader
from broker.subscriptions import Subscription

MOST_SUBSCRIPTIONS = 1000
"""The most subscriptions that names stand for at a time; which ones is left to chance, if there are more."""


class _Sql(Statements, file="leasable.sql"):
    of_names: Statement
    of_ids: Statement
    names: Statement
    find: Statement
    oldest: Statement


@dataclass(frozen=True, slots=True)
class Named:
    """The subscriptions with a pull target and a name, as far as they belong to a caller's tenants.

    Args:
        name: The name.
        reach: Those tenants.
        tenants: Only subscriptions of these; None: of any, and of none.
        without_tenant: Only subscriptions without a tenant.
    """

    name: str
    reach: Reach
    tenants: frozenset[str] | None = None
    without_tenant: bool = False


class Leasable(NamedTuple):
    """A delivery that can be leased.

    Args:
        subscription_id: What it is owed to.
        size: The bytes of its payload.
        again_in: After how many seconds it can be leased, if only the rate of its subscription is in the way.
    """

    subscription_id: int
    size: int
    again_in: float | None


class LeasableStore:
    """Finds deliveries that can be leased, and locks none.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._subscriptions = SubscriptionReader()

    async def of_names(self, named: Sequence[Named], reach: Reach) -> dict[int, Named]:
        """Return the subscriptions *named* that have deliveries to lease, by their ids; all are of that *reach*.

        A subscription that is named twice belongs to the first one. There are at most `MOST_SUBSCRIPTIONS`.
        """
        if not named:
            return {}
        topics = [
            {
                "number": number,
                "name": one.name,
                "tenants": None if one.tenants is None else sorted(one.tenants),
                "untenanted": one.without_tenant,
            }
            for number, one in enumerate(named)
        ]
        rows = await self._database.fetch(
            _Sql.of_names,
            topics=write_fast(topics),
            tenants=reach.tenants,
            untenanted=reach.untenanted,
            limit=MOST_SUBSCRIPTIONS,
        )
        return {row["id"]: named[row["number"]] for row in sorted(rows, key=lambda row: row["number"], reverse=True)}

    async def of_ids(self, ids: Collection[int], reach: Reach) -> list[Subscription]:
        """Return the subscriptions with a pull target and these ids, which are no names of others of that *reach*."""
        rows = await self._database.fetch(
            _Sql.of_ids, ids=list(ids), tenants=reach.tenants, untenanted=reach.untenanted
        )
        return [self._subscriptions.read(row) for row in rows]

    async def names(self, ids: Collection[int]) -> set[str]:
        """Return the names of subscriptions."""
        return {row["name"] for row in await self._database.fetch(_Sql.names, ids=list(ids))}

    async def find(self, subscription_ids: Collection[int]) -> list[int]:
        """Return those of the subscriptions that have deliveries to lease."""
        rows = await self._database.fetch(_Sql.find, subscription_ids=list(subscription_ids))
        return [row["id"] for row in rows]

    async def oldest(self, subscription_ids: Collection[int], *, most: int) -> list[Leasable]:
        """Return what can be leased of some subscriptions, the oldest signals first, at most so many.

        What limits and pauses keep back is left out. What only rates keep back comes last.
        """
        rows = await self._database.fetch(
            _Sql.oldest, subscription_ids=list(subscription_ids), most=most, lateness=LATENESS, horizon=HORIZON
        )
        return [Leasable(row["subscription_id"], row["size"] or 0, row["again_in"]) for row in rows]
