"""Redriving: deliveries are attempted again, single ones or all that match filters, whatever became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from broker.deliveries import DeliveryState, Outcome, delivery_id
from broker.limits import Pace
from broker.matching import Matcher
from broker.store.deliveries.bulk import BulkProgress, SignalFilter, finding, key_of
from broker.store.deliveries.decisions import Decisions
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.spans import find_span

_LIMIT = 1000


class _Sql(Statements, file="redrives.sql"):
    redrive: Statement


REDRIVABLE = (DeliveryState.DEAD, DeliveryState.PARKED, DeliveryState.DELIVERED, DeliveryState.CANCELLED)
"""A pending delivery is being attempted, or is about to be."""

_FIND = {
    state: finding(
        of_state="state = 'parked' AND (due_at > now()) IS NOT FALSE"
        " AND reason <> 'scheduled' AND (ordering_key IS NULL OR reason <> 'ordered')"
        if state is DeliveryState.PARKED
        else f"state = '{state.value}'",
        of_subscription="until IS NULL AND disabled_because IS NULL"
        " AND NOT (:cancelled::boolean AND once AND coalesce(consumed_by, l.signal_id) <> l.signal_id)",
        of_signal="state <> 'cancelled' AND (expires_at IS NULL OR expires_at > now())",
    )
    for state in REDRIVABLE
}


class RedriveStore:
    """Redrives deliveries that would be attempted.

    A delivery would not be attempted if its subscription is deleted or disabled, or its signal has expired. One whose
    filter exceeded its budget is redriven if the filter, as it is now, matches (`broker.store.deliveries.decisions`).

    Args:
        database: Where the deliveries are.
        limit: How many are looked at in one chunk.
        matcher: Evaluates filters, by turns with what else uses it; None: one of its own.
    """

    def __init__(self, database: Database, *, limit: int = _LIMIT, matcher: Matcher | None = None) -> None:
        self._database = database
        self._decisions = Decisions(database, matcher or Matcher(rest=1.0))
        self._limit = limit

    async def redrive(
        self,
        wanted: SignalFilter,
        pace: Pace,
        *,
        state: DeliveryState = DeliveryState.DEAD,
        subscription_id: int | None = None,
        outcome: Outcome | None = None,
        status: int | None = None,
        after: tuple[int, int] = (0, 0),
        dry_run: bool = False,
    ) -> AsyncIterator[BulkProgress]:
        """Redrive deliveries in *state* of *wanted* signals, in the order of their ids, after *after*, chunk by chunk.

        They go on at moments of *pace*. *outcome* and *status* are those of the last attempt. A delivery that two
        callers redrive at the same time is redriven once, and counted once. *dry_run* only counts them.
        """
        first_id, last_id = await find_span(self._database, wanted.since, wanted.until)
        start: tuple[int, int] | None = max(after, (first_id, 0))
        while start is not None:
            rows = await self._database.fetch(
                _FIND[state],
                cancelled=state is DeliveryState.CANCELLED,
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
            decided = await self._decisions.decide(asked, dry_run=dry_run)
            count = len(decided.owed)
            if decided.owed and not dry_run:
                moments = [pace.next(rows[0]["now"]) for _ in decided.owed]
                count = await redrive(self._database, decided.owed, moments, states=(state,))
            start = key_of(rows[-1]) if len(rows) == self._limit else None
            if decided.looked < len(asked):
                start = asked[decided.looked - 1]
            yield BulkProgress(count=count, looked=len(rows), after=None if start is None else delivery_id(*start))


async def redrive(
    on: Database | Session,
    keys: Sequence[tuple[int, int]],
    due_at: Sequence[datetime | None],
    *,
    states: Sequence[DeliveryState] = REDRIVABLE,
) -> int:
    """Put back those of the deliveries that are in one of *states*, until *due_at* (None: now); return how many."""
    rows = await on.fetch(
        _Sql.redrive,
        signal_ids=[signal_id for signal_id, _ in keys],
        subscription_ids=[subscription_id for _, subscription_id in keys],
        due_at=due_at,
        states=[state.value for state in states],
    )
    return len(rows)
