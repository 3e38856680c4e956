"""The store's half of signals for later: parked until their moment, released or cancelled, never both."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.deliveries import DeliveryState, DueAttempt
from broker.filters import parse_filter
from broker.signals import Scope, Throw
from broker.signals import SignalState as Standing
from broker.subscriptions import SubscriptionSpec
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, record
from tests.support.listing import listed

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def later(**after):
    return datetime.now(UTC) + timedelta(**after)


async def owed(deliveries, signal):
    """Return the state and the reason of everything that is owed of *signal*."""
    return [(delivery.state, delivery.reason) for delivery in await listed(deliveries, signal_id=signal.id)]


async def bring_forward(database, by):
    """Let the moments of all that is scheduled come so much earlier: none may come while it is being recorded."""
    await database.execute(
        "UPDATE signals SET deliver_at = deliver_at - $1::interval, due_at = due_at - $1::interval"
        " WHERE state = 'scheduled'",
        by,
    )
    await database.execute(
        "UPDATE deliveries SET due_at = due_at - $1::interval WHERE state = 'parked' AND reason = 'scheduled'", by
    )


def release(deliveries):
    return deliveries.release(limit=100, rescue_after=RESCUE_AFTER)


def take(signals, rescue_after=RESCUE_AFTER):
    return signals.take_scheduled(limit=100, rescue_after=rescue_after)


async def test_a_scheduled_signal_is_parked_until_its_moment(database, signals, subscriptions, deliveries):
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    moment = later(hours=1)
    (signal,) = await accept(database, Throw(name="sig", deliver_at=moment))

    assert await record(database, signal) == []
    assert (await signals.get(signal.id)).state is Standing.SCHEDULED
    (delivery,) = await listed(deliveries)
    assert (delivery.state, delivery.reason, delivery.due_at) == ("parked", "scheduled", moment)
    assert (await release(deliveries), await take(signals)) == ([], ([], []))

    await bring_forward(database, timedelta(hours=1))
    assert await release(deliveries) == [DueAttempt(signal.id, subscription.id, 1)]
    (due,), expired = await take(signals)
    thrown = replace(signal.throw, deliver_at=moment - timedelta(hours=1))
    assert (due.id, due.throw, due.created_at, expired) == (signal.id, thrown, signal.created_at, [])


async def test_a_signal_whose_moment_is_past_is_delivered_at_once(database, signals, subscriptions):
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    (signal,) = await accept(database, Throw(name="sig", deliver_at=LONG_AGO))
    assert await record(database, signal) == [DueAttempt(signal.id, subscription.id, 1)]
    assert (await signals.get(signal.id)).state is Standing.RECORDED


async def test_what_was_taken_for_the_taps_is_taken_again_unless_that_was_noted(database, signals):
    moment = later(hours=1)
    first, second = batch = await accept(database, *[Throw(name="sig", deliver_at=moment)] * 2)
    await record(database, *batch)

    await bring_forward(database, timedelta(hours=1))
    (again, _), _ = await take(signals, timedelta(0))
    assert again.id == first.id
    await signals.end_schedule([first.id])
    (only,), _ = await take(signals)
    assert only.id == second.id
    assert await take(signals) == ([], [])
    assert (await signals.get(first.id)).state is Standing.RECORDED


async def test_a_cancelled_signal_reaches_nobody_and_gives_back_what_it_consumed(
    database, signals, subscriptions, deliveries
):
    once = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,), once=True), secret=None)
    always = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    (signal,) = await accept(database, Throw(name="sig", deliver_at=later(hours=1)))
    await record(database, signal)
    assert (await subscriptions.get(once.id)).consumed_by == signal.id

    assert await signals.cancel(signal.id)
    assert not await signals.cancel(signal.id)
    assert (await signals.get(signal.id)).state is Standing.CANCELLED
    assert await owed(deliveries, signal) == [("cancelled", "the signal was cancelled")] * 2
    ledger = await deliveries.ledger()
    assert (ledger.matched, ledger.states[DeliveryState.CANCELLED], ledger.unaccounted) == (2, 2, 0)

    (following,) = await accept(database, Throw(name="sig"))
    assert {due.subscription_id for due in await record(database, following)} == {once.id, always.id}


async def test_what_is_not_scheduled_cannot_be_cancelled(database, signals):
    (signal,) = await accept(database, Throw(name="sig"))
    await record(database, signal)
    assert not await signals.cancel(signal.id)
    assert not await signals.cancel(signal.id + 1)
    assert (await signals.get(signal.id)).state is Standing.RECORDED


@pytest.mark.slow
async def test_of_a_cancellation_and_a_release_that_meet_exactly_one_happens(
    database, signals, subscriptions, deliveries
):
    for _ in range(3):
        await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    start = later(hours=1)
    batch = await accept(
        database, *(Throw(name="sig", deliver_at=start + timedelta(milliseconds=3 * number)) for number in range(200))
    )
    assert await record(database, *batch) == []
    ahead = start - later(seconds=0.1)
    await bring_forward(database, ahead)
    cancelled, released, published = set(), Counter(), set()

    async def cancel(signal):
        moment = signal.throw.deliver_at - ahead
        await asyncio.sleep((moment - datetime.now(UTC)).total_seconds() - signal.id % 4 / 1000)
        if await signals.cancel(signal.id):
            cancelled.add(signal.id)

    async def sweep():
        while len(cancelled) + len(published) < len(batch):
            due, _ = await take(signals)
            released.update(due.signal_id for due in await release(deliveries))
            await signals.end_schedule([signal.id for signal in due])
            published.update(signal.id for signal in due)

    async with asyncio.timeout(60):
        await asyncio.gather(*map(cancel, batch), sweep(), sweep())
    while due_attempts := await release(deliveries):
        released.update(due.signal_id for due in due_attempts)

    assert cancelled.isdisjoint(published)
    assert cancelled.isdisjoint(released)
    assert released == dict.fromkeys(published, 3)
    for signal in batch:
        expected = Standing.CANCELLED if signal.id in cancelled else Standing.RECORDED
        assert (await signals.get(signal.id)).state is expected
    ledger = await deliveries.ledger()
    assert (ledger.states[DeliveryState.CANCELLED], ledger.unaccounted) == (3 * len(cancelled), 0)


async def test_a_signal_that_expired_before_it_was_recorded_is_owed_and_cancelled(database, subscriptions, deliveries):
    await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    (signal,) = await accept(database, Throw(name="sig", expires_at=LONG_AGO))
    assert await record(database, signal) == []
    assert await owed(deliveries, signal) == [("cancelled", "expired")]
    ledger = await deliveries.ledger()
    assert (ledger.matched, ledger.states[DeliveryState.CANCELLED], ledger.unaccounted) == (1, 1, 0)


async def test_an_expired_signal_is_not_published_to_the_taps(database, signals):
    (signal,) = await accept(database, Throw(name="sig", deliver_at=later(hours=1), expires_at=later(hours=2)))
    await record(database, signal)
    await database.execute("UPDATE signals SET due_at = now(), expires_at = now() - interval '1 second'")
    assert await take(signals) == ([], [signal.id])


WORDS = st.sampled_from(["a", "b"])
NAMES = st.lists(WORDS, min_size=1, max_size=3).map(".".join)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=3).map(".".join)
TENANTS = st.sampled_from([None, "t1", "t2"])
FILTERS = st.sampled_from(
    [
        None,
        parse_filter({"n": {"operator": "NUM_GT", "value": "1"}}),
        parse_filter({"s": {"operator": "STR_CONTAINS", "values": ["x"], "inverted": True}}),
    ]
)
PAYLOADS = st.sampled_from([b"{}", b'{"n": 2}', b'{"n": 1, "s": "xy"}', b'{"n": 3, "s": "y"}'])


@st.composite
def spec(draw):
    return SubscriptionSpec(
        name=draw(PATTERNS),
        targets=(QUEUE,),
        tenant_id=draw(TENANTS),
        execution_id=draw(st.sampled_from([None, "e"])),
        once=draw(st.booleans()),
        filter=draw(FILTERS),
    )


@st.composite
def throws(draw):
    scope = draw(st.sampled_from(Scope))
    return Throw(
        name=draw(NAMES),
        payload=draw(PAYLOADS),
        scope=scope,
        tenant_id=draw(st.sampled_from(["t1", "t2"])) if scope is Scope.TENANT else None,
        execution_id="e" if scope is Scope.EXECUTION else None,
        audience=draw(st.sampled_from([None, (), ("t1",)])) if scope in {Scope.BROADCAST, Scope.EXECUTION} else None,
    )


@pytest.mark.slow
@given(wanted=st.lists(spec(), min_size=1, max_size=6), thrown=throws())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_explained_is_what_is_routed(database, subscriptions, *, wanted, thrown):
    """Explaining asks `Subscription.mismatch` of all subscriptions; recording finds its candidates by name first."""
    everything = [await subscriptions.create(one, secret=None) for one in wanted]
    (signal,) = await accept(database, thrown)
    explained = {subscription.id for subscription in everything if subscription.mismatch(signal) is None}
    assert {due.subscription_id for due in await record(database, signal)} == explained
    for subscription in everything:
        await subscriptions.delete(subscription.id)


@pytest.mark.slow
async def test_so_many_large_signals_are_taken_at_a_time_as_fit_and_the_others_later(database, signals):
    large = b'"%b"' % (b"x" * 3_000_000)
    accepted = await accept(database, *[Throw(name="sig", payload=large, deliver_at=later(hours=1))] * 8)
    for signal in accepted:
        await record(database, signal)
    await bring_forward(database, timedelta(hours=2))
    batches = []
    while taken := (await take(signals))[0]:
        batches.append([signal.id for signal in taken])
    assert sorted(signal_id for batch in batches for signal_id in batch) == [signal.id for signal in accepted]
    assert list(map(len, batches)) == [3, 3, 2]
