"""Replays: recorded signals become deliveries of a subscription that is not owed them yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.deliveries import DeliveryState, Reason
from broker.limits import Pace
from broker.matching import Exceeded, Matcher
from broker.names import is_pattern
from broker.signals import Signal
from broker.store.deliveries.bulk import BulkProgress, SignalFilter
from broker.store.deliveries.owing import NewDelivery, consume, dead_delivery, owe
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_signal, read_subscription
from broker.store.spans import find_span, find_start
from broker.subscriptions import Subscription

_LIMIT = 1000
_WIDE = 1_000_000
"""So many ids are too many to look at them all beforehand."""
_WITH_PAYLOADS = 100
"""How many signals one chunk looks at whose payloads are needed."""
_BYTES = 8 << 20
"""Bytes that fill a chunk: of matches, which are written anew, and of payloads that are needed."""
_SECONDS = 1.0
"""How long a chunk is matched, the time that others get meanwhile included."""


class _Matched(NamedTuple):
    """The signals of a chunk that match, and those for which the filter exceeded its budget."""

    matching: list[Signal]
    exceeded: list[Signal]


class _Sql(Statements, file="replays.sql"):
    receiver: Statement
    find_recorded: Statement
    last_position: Statement
    lock_receiver: Statement
    lock_matches: Statement
    add_match: Statement
    put_first: Statement


class ReplayStore:
    """Replays signals.

    Args:
        database: Where the signals are.
        limit: How many are looked at in one chunk; None chooses a number by what has to be looked at.
        matcher: Evaluates filters, by turns with what else uses it; None: one of its own.
    """

    def __init__(self, database: Database, *, limit: int | None = None, matcher: Matcher | None = None) -> None:
        self._database = database
        self._matcher = matcher or Matcher(rest=1.0)
        self._limit = limit

    async def replay(
        self, subscription_id: int, wanted: SignalFilter, pace: Pace, *, after_id: int = 0, dry_run: bool = False
    ) -> AsyncIterator[BulkProgress]:
        """Owe a subscription the *wanted* signals that match it and that it is not owed, chunk by chunk.

        In the order in which they were recorded, after the signal *after_id*; they go at moments of *pace*. Repeating
        it is harmless. It ends with a subscription that gets nothing (any more): deleted, disabled or consumed.
        *dry_run* only counts them.
        """
        position, higher_than = await find_start(self._database, after_id, wanted.since)
        last_position = await self._last_position(wanted)
        while True:
            subscription = await self._receiver(subscription_id)
            if subscription is None:
                return
            limit = self._limit or (_LIMIT if subscription.spec.filter is None else _WITH_PAYLOADS)
            rows = await self._find_recorded(subscription, wanted, limit, (position, last_position), higher_than)
            exhausted = not rows or len(rows) == rows[0]["found"] < limit
            looked, matched = await self._match(subscription, rows)
            count = len(matched.matching) + len(matched.exceeded)
            if count and not dry_run:
                count = await self._owe(subscription_id, matched, pace)
            last = (exhausted and looked == len(rows)) or (subscription.spec.once and len(matched.matching) > 0)
            yield BulkProgress(count=count, looked=looked, after=None if last else str(rows[looked - 1]["looked_at"]))
            if last:
                return
            position = rows[looked - 1]["position"]

    async def _match(self, subscription: Subscription, rows: Sequence[Row]) -> tuple[int, _Matched]:
        """Match the signals of *rows*, as many as that takes `_SECONDS` for; return how many rows were looked at, too.

        A `once` subscription gets the first one that matches.
        """
        matched, looked, clock = _Matched([], []), 0, asyncio.get_running_loop().time
        end = clock() + _SECONDS
        async with self._matcher.slice() as turn:
            for row in rows:
                looked += 1
                if row["id"] is not None:
                    signal = read_signal(row)
                    try:
                        if await self._matcher.mismatch(subscription, signal, turn, replayed=True) is None:
                            matched.matching.append(signal)
                    except Exceeded:
                        matched.exceeded.append(signal)
                    signal.context.forget()
                if clock() > end or (subscription.spec.once and matched.matching):
                    break
        return looked, matched

    async def _last_position(self, wanted: SignalFilter) -> int | None:
        """Return the last position of *wanted* signals, if that is cheap to find out; else None.

        Signals that were recorded after it are not looked at then, however many they are.
        """
        first_id, last_id = await find_span(self._database, wanted.since, wanted.until)
        if last_id is None or last_id - first_id > _WIDE:
            return None
        return int(await self._database.fetchval(_Sql.last_position, first_id=first_id, last_id=last_id))

    async def _receiver(self, subscription_id: int) -> Subscription | None:
        row = await self._database.fetchrow(_Sql.receiver, subscription_id=subscription_id)
        subscription = None if row is None else read_subscription(row)
        return subscription if subscription is not None and subscription.receives else None

    async def _find_recorded(
        self,
        subscription: Subscription,
        wanted: SignalFilter,
        limit: int,
        between: tuple[int, int | None],
        higher_than: int | None,
    ) -> list[Row]:
        """Return the next *limit* signals, with all columns of those that *subscription* may be owed and is not.

        There are fewer if they come to `_BYTES`.
        """
        after, last_position = between
        names = (subscription.spec.name, wanted.name)
        return await self._database.fetch(
            _Sql.find_recorded,
            limit=limit,
            after=after,
            last_position=last_position,
            higher_than=higher_than,
            exact_name=next((name for name in names if name and not is_pattern(name)), None),
            subscription_id=subscription.id,
            with_payloads=subscription.spec.filter is not None,
            max_bytes=_BYTES,
            **wanted.parameters,
        )

    async def _owe(self, subscription_id: int, matched: _Matched, pace: Pace) -> int:
        """Owe what *matched* to a subscription, unless it gets nothing any more; return how many are new to it."""
        async with self._database.transaction() as session:
            row = await session.fetchrow(_Sql.lock_receiver, subscription_id=subscription_id)
            if row is None or not (subscription := read_subscription(row)).receives:
                return 0
            signal_ids = [signal.id for signal in (*matched.matching, *matched.exceeded)]
            await session.execute(_Sql.lock_matches, signal_ids=signal_ids)
            noted = await session.fetch(_Sql.add_match, signal_ids=signal_ids, subscription_id=subscription_id)
            new = {match["signal_id"] for match in noted}
            owed = [signal for signal in matched.matching if signal.id in new]
            if subscription.spec.once and owed:
                await consume(session, {subscription_id: owed[0]})
            deliveries = [_new_delivery(signal, subscription, pace, row["now"]) for signal in owed]
            deliveries += [dead_delivery(signal, subscription) for signal in matched.exceeded if signal.id in new]
            await owe(session, deliveries, rescue_after=timedelta())
            if subscription.spec.ordered:
                ids = [signal.id for signal in owed]
                await session.execute(_Sql.put_first, signal_ids=ids, subscription_id=subscription_id)
        return len(new)


def _new_delivery(signal: Signal, subscription: Subscription, pace: Pace, now: datetime) -> NewDelivery:
    """Return the delivery: it waits in its ordering group, or for its moment of *pace*."""
    key = signal.throw.ordering_key if subscription.spec.ordered else None
    return NewDelivery(
        signal_id=signal.id,
        subscription_id=subscription.id,
        state=DeliveryState.PARKED,
        reason=Reason.REPLAY if key is None else Reason.ORDERED,
        due_at=pace.next(now) if key is None else None,
        ordering_key=key,
        app=subscription.spec.target.app,
        expires_at=signal.throw.expires_at,
    )
