"""Limits of tokens and users as columns, and as audit events show them."""

from __future__ import annotations

from typing import Any

from broker.access import Limits
from broker.store.postgres.database import Row


def limit_columns(limits: Limits) -> dict[str, Any]:
    """Return the columns that hold *limits*."""
    return {
        "names": limits.names,
        "tenants": limits.tenants,
        "queues": limits.queues,
        "untenanted": limits.untenanted,
    }


def read_limits(row: Row) -> dict[str, Any]:
    """Return the limits in a row of those columns, as members of `Limits`."""
    lists = {name: None if row[name] is None else tuple(row[name]) for name in ("names", "tenants", "queues")}
    return {**lists, "untenanted": row["untenanted"]}


def show_limits(limits: Limits) -> dict[str, Any]:
    """Return *limits* as audit events show them: those that are rarely given only where they are."""
    rare = {"queues": limits.queues, "untenanted": limits.untenanted}
    return {"names": limits.names, "tenants": limits.tenants, **{name: value for name, value in rare.items() if value}}
