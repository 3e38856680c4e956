"""An outcome that PostgreSQL refuses is kept until it is stored, and its receiver is called once."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from broker.deliveries import DeliveryState, Outcome, Result
from broker.errors import StoreRefusal, StoreUnavailable
from broker.settings import Settings
from broker.store.deliveries.presence import Presence
from broker.store.deliveries.surplus import SurplusStore
from broker.store.signals.signals import SignalStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import Kind
from tests.support.attempts import attempt_store
from tests.support.builders import QUEUE, RESCUE_AFTER, accept
from tests.support.eventually import eventually
from workers import keeping
from workers.deliverer import Deliverer
from workers.dispatch import dispatch

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=10)
SIGNALS = 12
BOOM = """
CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1/0; END $$;
CREATE TRIGGER boom BEFORE INSERT ON attempts FOR EACH ROW WHEN (NEW.signal_id % 2 = 0) EXECUTE FUNCTION boom()
"""
FAULTS = {
    "a column": ("ALTER TABLE attempts ADD COLUMN newer int NOT NULL", "ALTER TABLE attempts DROP COLUMN newer"),
    "a check": (
        "ALTER TABLE attempts ADD CONSTRAINT newer CHECK (signal_id % 2 = 0)",
        "ALTER TABLE attempts DROP CONSTRAINT newer",
    ),
    "a check of ours": (
        "ALTER TABLE attempts ADD CONSTRAINT blocks_check CHECK (signal_id % 2 = 0)",
        "ALTER TABLE attempts DROP CONSTRAINT blocks_check",
    ),
    "a trigger": (
        BOOM,
        "DROP TRIGGER boom ON attempts",
    ),
}


class Courier:
    """Counts the calls of each delivery."""

    def __init__(self):
        self.calls = Counter()

    async def deliver(self, claimed, *, timeout):  # noqa: ARG002
        self.calls[claimed.due.delivery_id] += 1
        return Result(outcome=Outcome.SUCCEEDED)


@asynccontextmanager
async def delivering(transport, database, courier):
    surplus = SurplusStore(database, Presence(database), rescue_after=timedelta(seconds=30))
    couriers = {Kind.QUEUE: courier}
    deliverer = Deliverer(transport, attempt_store(database), surplus, couriers, Settings(), concurrency=2, waiting=2)
    stopping = asyncio.Event()
    task = asyncio.create_task(deliverer.run(stopping))
    try:
        yield deliverer
    finally:
        stopping.set()
        await task


async def publish(transport, database, subscriptions):
    """Publish deliveries of a few signals to the deliverer."""
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    signals = await accept(database, *["a"] * SIGNALS)
    recorded = await SignalStore(database).record(signals, rescue_after=RESCUE_AFTER)
    await dispatch(transport, recorded.due_attempts, timeout=SOON)


async def mend(database, end):
    """Carry out *end*; the deliverer's statements lock the tables of attempts in another order."""

    async def done():
        with suppress(StoreRefusal):
            await database.execute(end)
            return True

    await eventually(done)


async def delivered(database):
    return await database.fetchval("SELECT count(*) FROM deliveries WHERE state = 'delivered'")


@pytest.mark.parametrize("fault", FAULTS)
async def test_receivers_are_called_once_and_others_do_not_wait(transport, database, subscriptions, monkeypatch, fault):
    """More outcomes are refused than the deliverer makes attempts at a time."""
    monkeypatch.setattr("workers.outcomes._PAUSES", (0.05,))
    begin, end = FAULTS[fault]
    await database.execute(begin)
    courier = Courier()
    async with delivering(transport, database, courier):
        await publish(transport, database, subscriptions)
        await eventually(lambda: len(courier.calls) == SIGNALS)
        await mend(database, end)

        async def all_are_delivered():
            return await delivered(database) == SIGNALS

        await eventually(all_are_delivered)
    assert set(courier.calls.values()) == {1}


async def test_beyond_the_bound_they_hold_up_others_and_none_is_dropped(
    transport, database, subscriptions, monkeypatch
):
    monkeypatch.setattr("workers.outcomes._PAUSES", (0.05,))
    monkeypatch.setattr(keeping, "MOST", 3)
    begin, end = FAULTS["a column"]
    await database.execute(begin)
    courier = Courier()
    async with delivering(transport, database, courier) as deliverer:
        await publish(transport, database, subscriptions)
        await eventually(lambda: len(courier.calls) >= 3 + 4)
        with pytest.raises(Exception, match="newer"):
            await eventually_refused(deliverer)
        assert len(courier.calls) < SIGNALS
        await mend(database, end)

        async def all_are_delivered():
            return await delivered(database) == SIGNALS

        await eventually(all_are_delivered)
    assert set(courier.calls.values()) == {1}


async def eventually_refused(deliverer):
    """Raise the error because of which *deliverer* is not ready, once it is not."""
    while True:
        await deliverer.check()
        await asyncio.sleep(0.1)


async def test_an_attempt_whose_beginning_the_store_noted_without_an_answer_is_made_at_once(
    embedded, database, subscriptions, deliveries, monkeypatch
):
    """Only the deliverer's own message is left of it: no other one would come before it is rescued."""
    courier, unanswered = Courier(), set()
    async with delivering(embedded, database, courier) as deliverer:
        claim = deliverer._attempts.claim  # noqa: SLF001

        async def claim_unheard(due, **more):
            answer = await claim(due, **more)
            if due.delivery_id not in unanswered:
                unanswered.add(due.delivery_id)
                raise StoreUnavailable("the link was lost")
            return answer

        monkeypatch.setattr(deliverer._attempts, "claim", claim_unheard)  # noqa: SLF001
        await publish(embedded, database, subscriptions)

        async def are_delivered():
            ledger = await deliveries.ledger()
            return ledger.states[DeliveryState.DELIVERED] == SIGNALS

        await eventually(are_delivered, within=20)
    assert set(courier.calls.values()) == {1}
    assert len(courier.calls) == len(unanswered) == SIGNALS
