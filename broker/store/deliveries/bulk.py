"""Bulk operations: they run in chunks, one transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.names import expression
from broker.store.postgres.database import Row
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="bulk.sql"):
    find: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkProgress:
    """What one chunk came to.

    Args:
        count: How many items were changed.
        looked: How many items were looked at.
        after: The id of the last item that was looked at; None: there are no more.
    """

    count: int
    looked: int
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalFilter:
    """Which signals a bulk operation is about; None is no filter.

    Args:
        name: Only signals of this name, or of names that match this pattern.
        since: Only signals accepted at this moment or later.
        until: Only signals accepted before this moment.
        names: Only signals whose name matches one of these patterns: those that the caller is limited to.
        tenants: Only what belongs to these tenants: those that the caller is limited to.
        untenanted: What belongs to no tenant, too, where reading it is enough.
    """

    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    names: Sequence[str] | None = None
    tenants: Sequence[str] | None = None
    untenanted: bool = False

    @property
    def parameters(self) -> dict[str, object]:
        """The filter as statements take it, with regular expressions for names."""
        return {
            "names": None if self.name is None else expression([self.name]),
            "permitted_names": None if self.names is None else expression(self.names),
            "since": self.since,
            "until": self.until,
            "tenants": self.tenants,
            "untenanted": self.untenanted,
        }


def finding(*, of_state: str, of_subscription: str, of_signal: str) -> Statement:
    """Return the statement that finds the deliveries to change; the conditions say which ones may be."""
    return _Sql.find.naming(of_state=of_state, of_subscription=of_subscription, of_signal=of_signal)


def key_of(row: Row) -> tuple[int, int]:
    """Return the key of the delivery that *row* is about."""
    return row["signal_id"], row["subscription_id"]
