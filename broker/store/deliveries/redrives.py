"""Redriving in bulk: dead deliveries, found by filters, are put back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.deliveries import Outcome, delivery_id
from broker.limits import Pace
from broker.store.deliveries.bulk import BulkProgress, Sought
from broker.store.postgres.database import Database
from broker.store.postgres.statements import load
from broker.store.spans import find_span

_SQL = load("broker.store.deliveries", "redrives")
_LIMIT = 1000


class RedriveStore:
    """Redrives what is dead and would be attempted.

    That is not what is owed to a subscription that is deleted or disabled, or of a signal that has expired.

    Args:
        database: Where they are.
        limit: How many are looked at in one chunk.
    """

    def __init__(self, database: Database, *, limit: int = _LIMIT) -> None:
        self._database = database
        self._limit = limit

    async def redrive(
        self,
        sought: Sought,
        pace: Pace,
        *,
        subscription_id: int | None = None,
        outcome: Outcome | None = None,
        after: tuple[int, int] = (0, 0),
        dry_run: bool = False,
    ) -> AsyncIterator[BulkProgress]:
        """Redrive those of *sought*, in the order of their ids and after *after*, chunk by chunk.

        They go on at moments of *pace*. *outcome* is that of the last attempt. What two redrive at the same time is
        redriven once, and counted once. *dry_run* counts them only.
        """
        first_id, last_id = await find_span(self._database, sought.since, sought.until)
        start: tuple[int, int] | None = max(after, (first_id, 0))
        while start is not None:
            rows = await self._database.fetch(
                _SQL.look,
                self._limit,
                *start,
                last_id,
                subscription_id,
                *sought.expressions,
                sought.since,
                sought.until,
                outcome,
                sought.tenants,
            )
            asked = [row for row in rows if row["asked"]]
            count = len(asked)
            if asked and not dry_run:
                keys = [row["signal_id"] for row in asked], [row["subscription_id"] for row in asked]
                moments = [pace.next(row["now"]) for row in asked]
                count = len(await self._database.fetch(_SQL.redrive, *keys, moments))
            start = (rows[-1]["signal_id"], rows[-1]["subscription_id"]) if len(rows) == self._limit else None
            yield BulkProgress(count=count, looked=len(rows), after=None if start is None else delivery_id(*start))
