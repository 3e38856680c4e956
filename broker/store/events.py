"""Events in PostgreSQL: an outbox, from which they are told by signals, and a list of those that were."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from itertools import chain

from broker.access import ADMINISTRATOR, Principal
from broker.events import Event, EventType
from broker.integers import MAX_ID
from broker.names import pattern_keys
from broker.quotas import QuotaKind, Subject
from broker.store.pages import Page
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.store.sight import sight_of_signals

EVERY = timedelta(minutes=1)
"""How often there is an event of one type about the same at most; the first one comes at once."""
KEPT = timedelta(days=30)
MOST = 100_000
"""How many events are kept; of more the oldest are deleted."""
_KEYS = sorted(set(chain.from_iterable(map(pattern_keys, EventType))))
"""What the patterns that match any of these signals are found by."""


class _Sql(Statements, file="events.sql"):
    note: Statement
    know_dead_queues: Statement
    note_poison: Statement
    has_work: Statement
    claim: Statement
    gather: Statement
    combine: Statement
    are_wanted: Statement
    settle_all: Statement
    unsettled: Statement
    number: Statement
    settle: Statement
    page: Statement
    forget: Statement


class EventStore:
    """Combines what happened to events, and keeps these for a while.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note_refusals(self, refusals: Mapping[tuple[Subject, str], int]) -> None:
        """Note how many times which quota (by its name in the API) of a tenant or a token was used up."""
        known = list(refusals)
        details = [{"kind": subject.kind.value, "id": subject.id, "quota": quota} for subject, quota in known]
        await self._database.execute(
            _Sql.note,
            type=EventType.QUOTA_REACHED.value,
            subjects=[f"{subject.kind.value} {quota} {subject.id}" for subject, quota in known],
            tenants=[subject.id if subject.kind is QuotaKind.TENANT else None for subject, _ in known],
            counts=[refusals[one] for one in known],
            details=[json.dumps(one) for one in details],
        )

    async def note_poison(self, messages: Mapping[str, int]) -> None:
        """Note which dead queues hold more messages than before, given how many each of them holds now."""
        queues, counts = list(messages), list(messages.values())
        async with self._database.transaction() as session:
            await session.execute(_Sql.know_dead_queues, queues=queues)
            await session.execute(_Sql.note_poison, queues=queues, counts=counts)

    async def combine(self, *, limit: int) -> int:
        """Make events of at most *limit* notes, and of what is due; return how many notes there were.

        While another scheduler does so, nothing is left to do: 0.
        """
        if not await self._database.fetchval(_Sql.has_work):
            return 0
        async with self._database.transaction() as session:
            if not await session.fetchval(_Sql.claim):
                return 0
            found = int(await session.fetchval(_Sql.gather, limit=limit))
            await session.execute(_Sql.combine, limit=limit, every=EVERY.total_seconds())
        return found

    async def unsettled(self, *, limit: int) -> list[Event]:
        """Return at most *limit* events that are to be told. If no subscription is for events, none is."""
        events = [_read(row) for row in await self._database.fetch(_Sql.unsettled, limit=limit)]
        if events and not await self._database.fetchval(
            _Sql.are_wanted, names=[kind.value for kind in EventType], keys=_KEYS
        ):
            await self._database.execute(_Sql.settle_all)
            return [event for event in events if event.signal_id is not None]
        return events

    async def note_signals(self, signals: Mapping[int, tuple[int, datetime]]) -> None:
        """Note the id of the signal that tells an event, and when it was numbered, by the event's id."""
        await self._database.execute(
            _Sql.number,
            ids=list(signals),
            signal_ids=[signal_id for signal_id, _ in signals.values()],
            signal_at=[at for _, at in signals.values()],
        )

    async def settle(self, ids: Collection[int]) -> None:
        """Note that the signals of the events with these *ids* are in the record queue."""
        await self._database.execute(_Sql.settle, ids=list(ids))

    async def page(
        self,
        *,
        before_id: int | None = None,
        limit: int = 100,
        kind: str | None = None,
        subscription_id: int | None = None,
        since: datetime | None = None,
        by: Principal = ADMINISTRATOR,
    ) -> Page[Event, int]:
        """Return a page of the events before *before_id* that *by* may read, the newest first.

        Args:
            before_id: Where the page begins; None: with the newest event.
            limit: How many events fill the page.
            kind: Only events of this type.
            subscription_id: Only events about this subscription.
            since: Only what happened then or later.
            by: Who reads: it may read the signals that tell them.
        """
        rows = await self._database.fetch(
            _Sql.page,
            before_id=MAX_ID if before_id is None else before_id,
            type=kind,
            subscription_id=subscription_id,
            since=since,
            limit=limit,
            **sight_of_signals(by),
        )
        events = [_read(row) for row in rows]
        return Page(events, events[-1].id if len(events) == limit else None)

    async def forget(self, *, limit: int) -> int:
        """Delete a part of what is not kept any longer; return how many rows."""
        return int(
            await self._database.fetchval(
                _Sql.forget, limit=limit, days=KEPT.days, most=MOST, every=EVERY.total_seconds()
            )
        )


def _read(row: Row) -> Event:
    return Event(
        id=row["id"],
        type=row["type"],
        since=row["since"],
        at=row["at"],
        count=row["n"],
        subscription_id=row["subscription_id"] or None,
        subscription_name=row["subscription_name"],
        tenant_id=row["tenant_id"],
        tenants=None if row["tenants"] is None else tuple(row["tenants"]),
        details=json.loads(row["details"]),
        signal_id=row["signal_id"],
        signal_at=row["signal_at"],
    )
