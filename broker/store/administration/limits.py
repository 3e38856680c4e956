"""Limits of tokens and users as columns, and as audit events show them; and when tokens expire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from broker.access import Limits
from broker.moments import show_moment
from broker.store.postgres.database import Row


def limit_columns(limits: Limits) -> dict[str, Any]:
    """Return the columns that hold *limits*."""
    return {
        "names": limits.names,
        "tenants": limits.tenants,
        "queues": limits.queues,
        "untenanted": limits.untenanted,
    }


def read_limits(row: Row | Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits in a row of those columns, as members of `Limits`."""
    lists = {name: None if row[name] is None else tuple(row[name]) for name in ("names", "tenants", "queues")}
    return {**lists, "untenanted": row["untenanted"]}


def show_limits(limits: Limits) -> dict[str, Any]:
    """Return *limits* as audit events show them: those that are rarely given only where they are."""
    rare = {"queues": limits.queues, "untenanted": limits.untenanted}
    return {"names": limits.names, "tenants": limits.tenants, **{name: value for name, value in rare.items() if value}}


def show_expiry(expires_at: datetime | None) -> dict[str, str]:
    """Return when a token expires as audit events show it: only where it does."""
    return {} if expires_at is None else {"expiresAt": show_moment(expires_at)}
