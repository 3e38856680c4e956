"""Everybody who has to do with an ordered subscription, on one database."""

from __future__ import annotations

from datetime import timedelta

from broker.deliveries import DeliveryState
from broker.signals import Throw
from broker.store.deliveries.attempts import Claimed, Ended
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from tests.support import builders
from tests.support.attempts import attempt_store
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, record
from tests.support.listing import listed


def ended(claimed: Claimed, state: DeliveryState, pause: timedelta | None = None) -> Ended:
    """Return an attempt of a group as it ended just now."""
    return builders.ended(claimed, state, pause=pause, reason="retry" if state is DeliveryState.PARKED else None)


class Desk:
    """Everybody who has to do with an ordered subscription, on one database."""

    def __init__(self, database):
        self.database = database
        self.subscriptions = SubscriptionStore(database)
        self.deliveries = DeliveryStore(database)
        self.attempts = attempt_store(database)
        self.ordering = OrderingStore(database)

    async def subscribe(self, name="sig", *, ordered=True, **spec):
        created = await self.subscriptions.create(
            SubscriptionSpec(name=name, targets=(QUEUE,), ordered=ordered, **spec), secret=None
        )
        return created.id

    async def number(self, *keys, **fields):
        """Return signals with these ordering keys, numbered; nobody has been answered yet."""
        return await accept(self.database, *(Throw(name="sig", ordering_key=key, **fields) for key in keys))

    async def throw(self, *keys, **fields):
        """Return signals with these ordering keys, whose throws were answered."""
        signals = await self.number(*keys, **fields)
        await self.answer(*signals)
        return signals

    async def answer(self, *signals):
        await self.ordering.note_pending_records([(signal.id, signal.throw.ordering_key) for signal in signals])

    async def record(self, *signals):
        return [due.signal_id for due in await record(self.database, *signals)]

    async def sweep(self):
        return [due.signal_id for due in await self.ordering.sweep(most=1000, rescue_after=RESCUE_AFTER)]

    async def release(self):
        return [due.signal_id for due in await self.deliveries.release(limit=100, rescue_after=RESCUE_AFTER)]

    async def attempt(self, signal, subscription_id, state=DeliveryState.DELIVERED, pause=None):
        """Make the next attempt at a pending delivery; return the signals that may be attempted now."""
        due = next(iter(await self.pending(signal, subscription_id)))
        claimed = await self.attempts.claim(due)
        assert isinstance(claimed, Claimed), claimed
        effects = await self.attempts.finish(ended(claimed, state, pause))
        return [due.signal_id for due in effects.due_attempts]

    async def pending(self, signal, subscription_id):
        delivery = (await self.deliveries.get((signal.id, subscription_id))).delivery
        assert delivery.state is DeliveryState.PENDING, delivery
        await self.database.execute("UPDATE deliveries SET due_at = now() WHERE signal_id = $1", signal.id)
        due_attempts = (await self.deliveries.rescue("", limit=100, rescue_after=RESCUE_AFTER)).due_attempts
        return [due for due in due_attempts if (due.signal_id, due.subscription_id) == (signal.id, subscription_id)]

    async def states(self, subscription_id):
        page = await listed(self.deliveries, subscription_id=subscription_id)
        return [(delivery.state, delivery.reason) for delivery in page]
