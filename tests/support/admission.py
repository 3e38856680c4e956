"""Attempts that admission decides on, in the store alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from broker.circuits import Phase
from broker.deliveries import DeliveryState, DueAttempt, Outcome
from broker.store.deliveries.attempts import Claimed, Ended
from broker.store.deliveries.backlogs import BacklogStore
from broker.store.deliveries.claiming import AttemptStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.ending import Effects
from broker.store.postgres.database import Database
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import WebhookTarget
from tests.support import attempts as attempt_support
from tests.support import builders
from tests.support.builders import accept, record

WEBHOOK = WebhookTarget(url="https://example.com/hook")


async def owe_attempts(
    database: Database, subscriptions: SubscriptionStore, count: int = 1, **spec: Any
) -> Sequence[DueAttempt]:
    """Return so many due attempts of a new subscription."""
    name = f"sig.{len((await subscriptions.page()).items)}"
    await subscriptions.create(SubscriptionSpec(**{"name": name, "targets": (WEBHOOK,), **spec}), secret=None)
    return await record(database, *await accept(database, *[name] * count))


def ended(claimed: Claimed, outcome: Outcome = Outcome.SUCCEEDED, status: int | None = 200) -> Ended:
    """Return how an attempt ended, with what follows for its delivery."""
    state = {Outcome.SUCCEEDED: DeliveryState.DELIVERED, Outcome.GONE: DeliveryState.DEAD}.get(
        outcome, DeliveryState.PARKED
    )
    pause = timedelta(hours=1) if state is DeliveryState.PARKED else None
    return builders.ended(claimed, state, pause=pause, outcome=outcome, status=status, address=WEBHOOK.circuit)


async def finish(attempts: AttemptStore, *claimed: Claimed, **how: Any) -> Sequence[Effects]:
    """End claimed attempts alike."""
    return await attempt_support.finish(attempts, *(ended(one, **how) for one in claimed))


async def standing(deliveries: DeliveryStore, due: DueAttempt) -> tuple[DeliveryState, str | None, int]:
    """Return the state of the delivery of an attempt, its reason, and how many attempts were made."""
    found = await deliveries.get((due.signal_id, due.subscription_id))
    assert found is not None
    delivery = found.delivery
    return delivery.state, delivery.reason, delivery.attempt_count


async def circuit_phase(database: Database, subscription_id: int) -> Phase:
    """Return whether the circuit of one of a subscription's targets is open, or half open."""
    subscription = await SubscriptionStore(database).get(subscription_id)
    assert subscription is not None
    return (await BacklogStore(database).find([subscription]))[subscription_id].circuit
