"""An attempt is begun again only if it may not have been made, and its outcome is stored once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.deliveries import DeliveryState, DueAttempt
from broker.store.deliveries.attempts import Claimed
from broker.store.signals.signals import SignalStore
from broker.subscriptions import SubscriptionSpec
from tests.support.attempts import claim, finish
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, ended, record

AT_ONCE = timedelta(0)


@pytest.fixture
async def due(subscriptions, database):
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    (due,) = await record(database, *await accept(database, "a"))
    return due


async def state(deliveries, due):
    return (await deliveries.get((due.signal_id, due.subscription_id))).delivery.state


async def test_a_redelivered_message_begins_its_attempt_again_unless_it_has_ended(due, attempts, deliveries):
    (first,) = await claim(attempts, due, redelivered=True)
    assert (first.again, type(first)) == (False, Claimed)
    assert await claim(attempts, due) == [None], "it was begun, and not redelivered"
    (second,) = await claim(attempts, due, redelivered=True)
    assert second.again
    await finish(attempts, ended(second, DeliveryState.PARKED, pause=AT_ONCE))
    (following,) = await deliveries.release(limit=1, rescue_after=RESCUE_AFTER)
    assert following.attempt == 2
    assert await claim(attempts, due, redelivered=True) == [None], "it has ended, and another attempt is due"


async def test_an_outcome_that_is_stored_twice_changes_nothing_the_second_time(due, attempts, deliveries):
    """As when the commit succeeded and its answer was lost."""
    (claimed,) = await claim(attempts, due)
    outcome = ended(claimed, DeliveryState.PARKED, pause=AT_ONCE)
    await finish(attempts, outcome)
    (following,) = await deliveries.release(limit=1, rescue_after=RESCUE_AFTER)
    await finish(attempts, outcome)
    assert await state(deliveries, due) is DeliveryState.PENDING
    assert isinstance((await claim(attempts, following))[0], Claimed)


async def test_an_outcome_wins_over_a_rescue_that_has_not_begun_another_attempt(due, attempts, deliveries, database):
    (claimed,) = await claim(attempts, due)
    await database.execute("UPDATE deliveries SET due_at = now()")
    rescued = await deliveries.rescue("", limit=1, rescue_after=RESCUE_AFTER)
    assert (rescued.due_attempts, rescued.begun) == ([DueAttempt(due.signal_id, due.subscription_id, 2)], 1)
    await finish(attempts, ended(claimed, DeliveryState.DELIVERED))
    assert await claim(attempts, *rescued.due_attempts) == [None]
    assert await state(deliveries, due) is DeliveryState.DELIVERED


async def test_an_outcome_that_was_overtaken_leaves_the_delivery_alone(due, attempts, deliveries, database):
    (claimed,) = await claim(attempts, due)
    await database.execute("UPDATE deliveries SET due_at = now()")
    rescued = await deliveries.rescue("", limit=1, rescue_after=RESCUE_AFTER)
    (second,) = await claim(attempts, *rescued.due_attempts)
    await finish(attempts, ended(claimed, DeliveryState.DEAD))
    assert await state(deliveries, due) is DeliveryState.PENDING
    await finish(attempts, ended(second, DeliveryState.DELIVERED))
    assert await state(deliveries, due) is DeliveryState.DELIVERED


async def test_a_message_that_was_never_begun_is_rescued_and_no_repeat(due, deliveries, database):
    await database.execute("UPDATE deliveries SET due_at = now()")
    assert (await deliveries.rescue("", limit=1, rescue_after=RESCUE_AFTER)).begun == 0


async def test_signals_that_are_recorded_already_are_counted(due, database):
    signals = await accept(database, *"bb")
    store = SignalStore(database)
    assert (await store.record(signals[:1], rescue_after=RESCUE_AFTER)).repeats == 0
    assert (await store.record(signals, rescue_after=RESCUE_AFTER)).repeats == 1
