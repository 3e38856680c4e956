"""Cancelling: deliveries that are given up by hand, all that match filters."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.deliveries import BY_HAND, DeliveryState, Outcome, delivery_id
from broker.store.deliveries.bulk import BulkProgress, SignalFilter, finding, key_of
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements
from broker.store.spans import find_span

_LIMIT = 1000


class _Sql(Statements, file="cancelling.sql"):
    cancel: Statement


_FIND = {
    state: finding(
        of_state=f"state = '{state.value}'",
        of_subscription="(until IS NOT NULL OR NOT :deleted::boolean)",
        of_signal="true",
    )
    for state in (DeliveryState.DEAD, DeliveryState.PARKED)
}


class CancellingStore:
    """Cancels deliveries that are dead or parked, those to deleted subscriptions and of expired signals, too.

    Args:
        database: Where the deliveries are.
        limit: How many are looked at in one chunk.
    """

    def __init__(self, database: Database, *, limit: int = _LIMIT) -> None:
        self._database = database
        self._limit = limit

    async def cancel(
        self,
        wanted: SignalFilter,
        *,
        state: DeliveryState,
        subscription_id: int | None = None,
        deleted: bool = False,
        outcome: Outcome | None = None,
        status: int | None = None,
        after: tuple[int, int] = (0, 0),
        dry_run: bool = False,
    ) -> AsyncIterator[BulkProgress]:
        """Cancel deliveries in *state* of *wanted* signals, in the order of their ids, after *after*, chunk by chunk.

        *deleted* leaves those to subscriptions that are not deleted as they are. *outcome* and *status* are those of
        the last attempt. *dry_run* only counts them.
        """
        first_id, last_id = await find_span(self._database, wanted.since, wanted.until)
        start: tuple[int, int] | None = max(after, (first_id, 0))
        while start is not None:
            rows = await self._database.fetch(
                _FIND[state],
                deleted=deleted,
                limit=self._limit,
                after_signal_id=start[0],
                after_subscription_id=start[1],
                last_id=last_id,
                subscription_id=subscription_id,
                outcome=outcome,
                status=status,
                **wanted.parameters,
            )
            asked = [key_of(row) for row in rows if row["asked"]]
            count = len(asked)
            if asked and not dry_run:
                count = await self._database.fetchval(
                    _Sql.cancel,
                    signal_ids=[signal_id for signal_id, _ in asked],
                    subscription_ids=[subscription_id for _, subscription_id in asked],
                    state=state.value,
                    reason=BY_HAND,
                )
            start = key_of(rows[-1]) if len(rows) == self._limit else None
            yield BulkProgress(count=count, looked=len(rows), after=None if start is None else delivery_id(*start))
