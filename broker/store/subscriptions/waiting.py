"""Subscriptions that still receive signals, and the executions in which they wait, as Camunda's clients list them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from broker.access import ADMINISTRATOR, Principal
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements
from broker.store.sight import sight_of_subscriptions


class _Sql(Statements, file="waiting.sql"):
    find: Statement
    count: Statement
    executions: Statement
    count_executions: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionFilter:
    """Chooses among the subscriptions that still receive signals; None does not filter.

    Args:
        id: Only the subscription with this id.
        name: Only those of exactly this name or pattern.
        execution_id: Only those of this execution.
        tenants: Only those of these tenants.
        untenanted: Those without a tenant, too; it matters only together with *tenants*.
    """

    id: int | None = None
    name: str | None = None
    execution_id: str | None = None
    tenants: tuple[str, ...] | None = None
    untenanted: bool = False

    @property
    def condition(self) -> tuple[str, dict[str, object]]:
        """The condition that the chosen ones meet, and its parameters."""
        values: dict[str, object] = {
            "id": self.id,
            "name": self.name,
            "execution_id": self.execution_id,
            "of_tenants": self.tenants,
        }
        given = {name: value for name, value in values.items() if value is not None}
        conditions = [f"{name} = :{name}" for name in given if name not in {self._walked, "of_tenants"}]
        if self._walked is not None:  # as a range of its index, which no other index serves
            conditions += [f"({self._walked}, id) {beyond} (:{self._walked}, {end})" for beyond, end in _ENDS]
        if self.tenants is not None:
            untenanted = " OR tenant_id IS NULL" if self.untenanted else ""
            conditions.append(f"(tenant_id = ANY (:of_tenants::text[]){untenanted})")
        return " AND ".join(conditions) or "true", given

    @property
    def order(self) -> str:
        """By what they are in the order of their ids."""
        return "id" if self._walked is None else f"{self._walked}, id"

    @property
    def _walked(self) -> str | None:
        """The column whose index they are found by."""
        if self.execution_id is not None:
            return "execution_id"
        return None if self.name is None else "name"


_ENDS = ((">=", "0::bigint"), ("<=", "9223372036854775807"))
_ORDERS = {
    ("created", False): "created_at, id",
    ("created", True): "created_at DESC, id DESC",
    ("tenantId", False): "tenant_id, id",
    ("tenantId", True): "tenant_id DESC, id DESC",
}
"""The orders of `WaitingStore.find`, which indexes have: what was asked for, and whether it descends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSubscription:
    """A subscription that still receives signals, as far as lists of them show it."""

    id: int
    name: str
    execution_id: str | None
    tenant_id: str | None
    created_at: datetime


class WaitingStore:
    """Reads the subscriptions that still receive signals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self,
        chosen: SubscriptionFilter,
        *,
        by: Principal = ADMINISTRATOR,
        order: str | None = None,
        descending: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[WaitingSubscription]:
        """Return the *chosen* ones of the subscriptions that *by* sees and that still receive signals.

        *order* is ``created`` or ``tenantId``, None orders by id.
        """
        condition, values = chosen.condition
        rows = await self._database.fetch(
            _Sql.find.naming(chosen=condition, order=chosen.order if order is None else _ORDERS[order, descending]),
            **values,
            **await sight_of_subscriptions(self._database, by),
            offset=offset,
            limit=limit,
        )
        return [WaitingSubscription(**row) for row in rows]

    async def count(self, chosen: SubscriptionFilter, *, by: Principal = ADMINISTRATOR) -> int:
        """Return how many subscriptions `find` would return without a limit."""
        condition, values = chosen.condition
        count: int = await self._database.fetchval(
            _Sql.count.naming(chosen=condition),
            **values,
            **await sight_of_subscriptions(self._database, by),
        )
        return count

    async def executions(
        self,
        chosen: SubscriptionFilter,
        *,
        by: Principal = ADMINISTRATOR,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[tuple[str, str | None]]:
        """Return the executions of the *chosen* subscriptions, and the tenant of each, as far as *by* sees them."""
        condition, values = chosen.condition
        rows = await self._database.fetch(
            _Sql.executions.naming(chosen=condition),
            **values,
            **await sight_of_subscriptions(self._database, by),
            offset=offset,
            limit=limit,
        )
        return [(row["execution_id"], row["tenant_id"]) for row in rows]

    async def count_executions(self, chosen: SubscriptionFilter, *, by: Principal = ADMINISTRATOR) -> int:
        """Return how many executions `executions` would return without a limit."""
        condition, values = chosen.condition
        count: int = await self._database.fetchval(
            _Sql.count_executions.naming(chosen=condition),
            **values,
            **await sight_of_subscriptions(self._database, by),
        )
        return count
