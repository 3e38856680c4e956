"""What is done to many, bit by bit: each chunk is a transaction of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.names import expression


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkProgress:
    """What came of one.

    Args:
        count: To how many it was done.
        looked: How many were looked at.
        after: The id of the last one that was looked at; None: there are no more.
    """

    count: int
    looked: int
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Of which signals something is to be redriven or replayed; None is no filter.

    Args:
        name: Of this name, or those that the pattern names.
        since: Accepted then or later.
        until: Accepted before.
        names: Patterns of the names that the caller is limited to.
        tenants: The tenants that the caller sees.
    """

    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    names: Sequence[str] | None = None
    tenants: Sequence[str] | None = None

    @property
    def expressions(self) -> tuple[str | None, str | None]:
        """Regular expressions that a name meets: what is asked for, and what the caller is limited to."""
        return (
            None if self.name is None else expression([self.name]),
            None if self.names is None else expression(self.names),
        )
