"""Replays: recorded signals become deliveries of a subscription that is not owed them yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from broker.deliveries import Reason
from broker.limits import Pace
from broker.names import is_pattern
from broker.signals import Signal
from broker.store.deliveries.bulk import BulkProgress, Sought
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import load
from broker.store.rows import read_signal, read_subscription
from broker.store.spans import find_span, find_start
from broker.subscriptions import Subscription

_SQL = load("broker.store.deliveries", "replays")
_RECORDING = load("broker.store.signals", "recording")
_SUBSCRIPTIONS = load("broker.store.subscriptions", "subscriptions")
_LIMIT = 1000
_WIDE = 1_000_000
"""So many ids are too many to look at them all beforehand."""
_WITH_PAYLOADS = 100
"""How many signals one chunk looks at whose payloads are needed, each of which may have megabytes."""


class ReplayStore:
    """Replays signals.

    Args:
        database: Where they are.
        limit: How many are looked at in one chunk, or None for as many as go well.
    """

    def __init__(self, database: Database, *, limit: int | None = None) -> None:
        self._database = database
        self._limit = limit

    async def replay(
        self, subscription_id: int, sought: Sought, pace: Pace, *, after_id: int = 0, dry_run: bool = False
    ) -> AsyncIterator[BulkProgress]:
        """Owe a subscription those of *sought* that match it and that it is not owed, chunk by chunk.

        In the order in which they were recorded, after the signal *after_id*; they go at moments of *pace*. Repeating
        it is harmless. It ends with a subscription that gets nothing (any more): deleted, disabled or consumed.
        *dry_run* counts them only.
        """
        position, higher_than = await find_start(self._database, after_id, sought.since)
        end = await self._end(sought)
        while True:
            subscription = await self._receiving(subscription_id)
            if subscription is None:
                return
            limit = self._limit or (_LIMIT if subscription.spec.filter is None else _WITH_PAYLOADS)
            rows = await self._look(subscription, sought, limit, (position, end), higher_than)
            matching = await _matching(subscription, rows)
            if subscription.spec.once:
                matching = matching[:1]
            count = len(matching)
            if matching and not dry_run:
                count = await self._owe(subscription_id, matching, pace)
            last = len(rows) < limit or (subscription.spec.once and count > 0)
            yield BulkProgress(count=count, looked=len(rows), after=None if last else str(rows[-1]["looked_at"]))
            if last:
                return
            position = rows[-1]["position"]

    async def _end(self, sought: Sought) -> int | None:
        """Return the position of the last one of *sought*, where it is worth while to find out; None: there is no end.

        What was recorded after it is not looked at then, however much that is.
        """
        first_id, last_id = await find_span(self._database, sought.since, sought.until)
        if last_id is None or last_id - first_id > _WIDE:
            return None
        return int(await self._database.fetchval(_SQL.end, first_id, last_id))

    async def _receiving(self, subscription_id: int) -> Subscription | None:
        row = await self._database.fetchrow(_SUBSCRIPTIONS.get, subscription_id)
        subscription = None if row is None else read_subscription(row)
        return subscription if subscription is not None and subscription.receives else None

    async def _look(
        self,
        subscription: Subscription,
        sought: Sought,
        limit: int,
        between: tuple[int, int | None],
        higher_than: int | None,
    ) -> list[Row]:
        """Return the next *limit* signals, with all columns of those that *subscription* may be owed and is not."""
        after, end = between
        return await self._database.fetch(
            _SQL.look,
            limit,
            after,
            higher_than,
            next((name for name in (subscription.spec.name, sought.name) if name and not is_pattern(name)), None),
            subscription.id,
            *sought.expressions,
            sought.since,
            sought.until,
            sought.tenants,
            subscription.spec.filter is not None,
            end,
        )

    async def _owe(self, subscription_id: int, signals: Sequence[Signal], pace: Pace) -> int:
        """Owe *signals* to a subscription, unless it gets nothing any more; return how many it was not owed yet."""
        async with self._database.transaction() as session:
            row = await session.fetchrow(_SQL.lock, subscription_id)
            if row is None or not (subscription := read_subscription(row)).receives:
                return 0
            noted = await session.fetch(_SQL.note, [signal.id for signal in signals], subscription_id)
            new = {noting["signal_id"] for noting in noted}
            owed = [signal for signal in signals if signal.id in new]
            ids = [signal.id for signal in owed]
            if row["once"] and owed:
                await session.fetch(_RECORDING.consume, [subscription_id], ids)
            keys = [signal.throw.ordering_key if row["ordered"] else None for signal in owed]
            await session.execute(
                _RECORDING.insert_deliveries,
                0.0,
                ids,
                [subscription_id] * len(owed),
                ["parked"] * len(owed),
                [(Reason.REPLAY if key is None else Reason.ORDERED).value for key in keys],
                [pace.next(row["now"]) if key is None else None for key in keys],
                keys,
                [subscription.spec.target.app] * len(owed),
            )
            if row["ordered"]:
                await session.execute(_SQL.put_in_front, ids, subscription_id)
        return len(owed)


async def _matching(subscription: Subscription, rows: Sequence[Row]) -> list[Signal]:
    matching = []
    for row in rows:
        if row["id"] is not None:
            signal = read_signal(row)
            if subscription.mismatch(signal, replayed=True) is None:
                matching.append(signal)
            await asyncio.sleep(0)  # a filter may take long, and others are waiting
    return matching
