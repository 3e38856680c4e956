"""Contenders: subscriptions whose waiting deliveries compete for the room in the queues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from broker.store.postgres.database import Row


class Contender(NamedTuple):
    """A subscription that has deliveries to go on.

    Args:
        app: Whose workers make the attempts; empty: any deliverer.
        tenants: With whose subscriptions it takes turns: those that belong to the same tenants; None: to no tenant.
    """

    app: str
    tenants: tuple[str, ...] | None


def read_contenders(rows: Iterable[Row]) -> dict[int, Contender]:
    """Return the contenders of *rows* by the ids of their subscriptions."""
    return {row["subscription_id"]: Contender(row["app"], read_tenants(row)) for row in rows}


def read_tenants(row: Row) -> tuple[str, ...] | None:
    """Return the tenants that a subscription belongs to (`belongs_to` in schema.sql)."""
    return None if row["tenants"] is None else tuple(row["tenants"])
