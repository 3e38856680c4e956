"""The end of an attempt in an ordering group begins the next one, if nothing has to be decided first."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from broker.access import ADMINISTRATOR
from broker.deliveries import DeliveryState, Outcome
from broker.store.deliveries.attempts import SMALL, Claimed
from broker.store.deliveries.ending import Effects, can_hand_on
from broker.store.deliveries.ordering import lock_keys
from broker.store.deliveries.pausing import PausingStore
from broker.subscriptions import HeadOfLine
from tests.support.attempts import attempt_store
from tests.support.eventually import eventually
from tests.support.ordering import Desk, ended

PENDING, WAITS, DELIVERED = ("pending", None), ("parked", "ordered"), ("delivered", None)


@pytest.fixture
def desk(database):
    return Desk(database)


async def begun(desk, signal, subscription):
    """Return the attempt at a pending delivery, begun."""
    claimed = await desk.attempts.claim(next(iter(await desk.pending(signal, subscription))))
    assert isinstance(claimed, Claimed), claimed
    return claimed


async def hand_on(desk, claimed):
    return await desk.attempts.hand_on(ended(claimed, DeliveryState.DELIVERED))


async def attempts_at(desk, signal, subscription):
    attempts = await desk.deliveries.attempts((signal.id, subscription))
    return [(attempt.number, attempt.result.outcome) for attempt in attempts]


@pytest.mark.slow
async def test_each_end_begins_the_next_attempt(desk):
    subscription = await desk.subscribe()
    signals = await desk.throw(*"aaa")
    await desk.record(*signals)
    claimed = await begun(desk, signals[0], subscription)
    for done, signal in enumerate(signals[1:], 1):
        claimed = await hand_on(desk, claimed)
        assert isinstance(claimed, Claimed)
        assert (claimed.due.signal_id, claimed.due.attempt, claimed.in_group) == (signal.id, 1, True)
        assert (claimed.signal.throw, claimed.subscription.id) == (signal.throw, subscription)
        assert await desk.states(subscription) == [DELIVERED] * done + [PENDING] + [WAITS] * (2 - done)
    effects = await hand_on(desk, claimed)
    assert isinstance(effects, Effects)
    assert not effects.due_attempts
    assert await desk.states(subscription) == [DELIVERED] * 3
    assert await attempts_at(desk, signals[1], subscription) == [(1, Outcome.SUCCEEDED)]


@pytest.mark.slow
async def test_what_is_under_way_was_begun_before_its_request(desk):
    """If the deliverer is lost then, the record says so."""
    subscription = await desk.subscribe()
    first, second = await desk.throw(*"aa")
    await desk.record(first, second)
    following = await hand_on(desk, await begun(desk, first, subscription))
    again = await desk.attempts.claim(following.due, redelivered=True)
    assert (again.due.attempt, again.again) == (2, True)
    assert await attempts_at(desk, second, subscription) == [(1, Outcome.INTERRUPTED)]


@pytest.mark.slow
async def test_a_change_of_the_subscription_holds_for_the_next_attempt(desk):
    subscription = await desk.subscribe()
    signals = await desk.throw(*"aaaa")
    await desk.record(*signals)
    claimed, timeouts = await begun(desk, signals[0], subscription), []
    for seconds in (None, 7.0, 8.0):
        await desk.database.execute("UPDATE subscriptions SET timeout = $1", seconds)
        claimed = await hand_on(desk, claimed)
        timeouts.append(claimed.subscription.spec.timeout)
    assert timeouts == [None, timedelta(seconds=7), timedelta(seconds=8)]


@pytest.mark.slow
async def test_groups_that_end_together_hand_on_each_to_its_own(desk):
    subscription, other = await desk.subscribe(), await desk.subscribe()
    signals = await desk.throw(*"abab")
    await desk.record(*signals)
    firsts = [await begun(desk, signal, one) for signal in signals[:2] for one in (subscription, other)]
    answers = await asyncio.gather(*(hand_on(desk, claimed) for claimed in firsts))
    assert [(one.due.signal_id, one.due.subscription_id) for one in answers] == [
        (signal.id, one) for signal in signals[2:] for one in (subscription, other)
    ]


async def paused(desk, subscription):
    await PausingStore(desk.database).pause(subscription)


async def failing(desk, subscription):
    await desk.database.execute(
        "INSERT INTO circuits (key, subscription_id, address) VALUES ('k', $1, 'http://down')", subscription
    )


async def with_limit(desk, subscription):
    await desk.database.execute("UPDATE subscriptions SET max_in_flight = 1 WHERE id = $1", subscription)


async def with_rate(desk, subscription):
    await desk.database.execute("UPDATE subscriptions SET max_per_second = 1000 WHERE id = $1", subscription)


async def disabled(desk, subscription):
    await desk.database.execute("UPDATE subscriptions SET disabled_because = 'gone' WHERE id = $1", subscription)


async def of_another_app(desk, subscription):
    await desk.database.execute(
        "UPDATE deliveries SET app = 'shop' WHERE subscription_id = $1 AND state = 'parked'", subscription
    )


@pytest.mark.slow
@pytest.mark.parametrize("change", [paused, failing, with_limit, with_rate, disabled, of_another_app])
async def test_what_has_to_be_admitted_gets_a_message(desk, change):
    subscription = await desk.subscribe()
    first, second = await desk.throw(*"aa")
    await desk.record(first, second)
    claimed = await begun(desk, first, subscription)
    await change(desk, subscription)
    effects = await hand_on(desk, claimed)
    assert [(due.signal_id, due.attempt) for due in effects.due_attempts] == [(second.id, 1)]
    assert await desk.states(subscription) == [DELIVERED, PENDING]
    assert await desk.database.fetchval("SELECT attempts FROM deliveries WHERE signal_id = $1", second.id) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{"payload": b'"' + b"x" * SMALL + b'"'}, {"expires_at": datetime.now(UTC) + timedelta(hours=1)}],
    ids=["large", "expired"],
)
async def test_what_is_large_or_has_expired_gets_a_message(desk, fields):
    subscription = await desk.subscribe()
    (first,), (second,) = await desk.throw("a"), await desk.throw("a", **fields)
    await desk.record(first, second)
    claimed = await begun(desk, first, subscription)
    await desk.database.execute("UPDATE signals SET expires_at = now() WHERE expires_at IS NOT NULL")
    effects = await hand_on(desk, claimed)
    assert [due.signal_id for due in effects.due_attempts] == [second.id]


@pytest.mark.slow
async def test_what_was_cancelled_is_passed_over(desk):
    subscription = await desk.subscribe()
    first, second, third = await desk.throw(*"aaa")
    await desk.record(first, second, third)
    claimed = await begun(desk, first, subscription)
    await desk.deliveries.cancel((second.id, subscription), by=ADMINISTRATOR)
    following = await hand_on(desk, claimed)
    assert following.due.signal_id == third.id


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "goes_on"), [(HeadOfLine.BLOCK, False), (HeadOfLine.SKIP, True)])
async def test_a_dead_one_ahead_blocks_the_group_or_is_skipped(desk, policy, goes_on):
    """The policy has been changed while the group went on."""
    subscription = await desk.subscribe(head_of_line=HeadOfLine.SKIP)
    first, second, third = await desk.throw(*"aaa")
    await desk.record(first, second, third)
    await desk.attempt(first, subscription, DeliveryState.DEAD)
    claimed = await begun(desk, second, subscription)
    await desk.database.execute("UPDATE subscriptions SET head_of_line = $1", policy.value)
    assert isinstance(await hand_on(desk, claimed), Claimed) is goes_on


@pytest.mark.slow
async def test_the_group_of_a_key_that_somebody_looks_at_goes_on_when_they_have(desk):
    subscription = await desk.subscribe()
    first, second = await desk.throw(*"aa")
    await desk.record(first, second)
    claimed = await begun(desk, first, subscription)
    async with desk.database.transaction() as session:
        await lock_keys(session, {"a"})
        handing = asyncio.create_task(hand_on(desk, claimed))

        async def waits():
            return await desk.database.fetchval("SELECT count(*) = 1 FROM pg_locks WHERE NOT granted")

        await eventually(waits)
    assert [due.signal_id for due in (await handing).due_attempts] == [second.id]


@pytest.mark.slow
async def test_an_end_that_is_stored_twice_hands_on_once(desk):
    """The store has noted it, and its answer was lost."""
    subscription = await desk.subscribe()
    first, second, third = await desk.throw(*"aaa")
    await desk.record(first, second, third)
    claimed = await begun(desk, first, subscription)
    following = await hand_on(desk, claimed)
    for again in (await hand_on(desk, claimed), await desk.attempts.finish(ended(claimed, DeliveryState.DELIVERED))):
        assert not again.due_attempts
    assert await desk.states(subscription) == [DELIVERED, PENDING, WAITS]
    assert await desk.attempts.find_heir(claimed.due) == following.due


async def test_only_what_is_under_way_in_the_group_is_an_heir(desk):
    subscription = await desk.subscribe()
    first, second, third = await desk.throw(*"aaa")
    await desk.record(first, second, third)
    claimed = await begun(desk, first, subscription)
    assert await desk.attempts.find_heir(claimed.due) is None
    await desk.attempts.finish(ended(claimed, DeliveryState.DELIVERED))
    assert await desk.attempts.find_heir(claimed.due) is None  # the second one has a message
    following = await begun(desk, second, subscription)
    assert await desk.attempts.find_heir(claimed.due) == following.due


@pytest.mark.slow
async def test_an_heir_is_left_to_a_deliverer_that_is_there(desk):
    subscription = await desk.subscribe()
    first, second = await desk.throw(*"aa")
    await desk.record(first, second)
    other = attempt_store(desk.database)
    async with desk.attempts.presence, other.presence:
        await eventually(lambda: desk.attempts.presence.id and other.presence.id)
        claimed = await begun(desk, first, subscription)
        await hand_on(desk, claimed)
        heir = await other.find_heir(claimed.due)
        assert heir.signal_id == second.id
        assert not isinstance(await other.claim(heir, redelivered=True), Claimed)
    assert isinstance(await other.claim(heir, redelivered=True), Claimed)


async def test_who_failed_or_has_a_slot_does_not_hand_on(desk):
    subscription = await desk.subscribe(max_in_flight=1)
    (first,) = await desk.throw("a")
    await desk.record(first)
    claimed = await begun(desk, first, subscription)
    assert not can_hand_on(ended(claimed, DeliveryState.DELIVERED))
    assert not can_hand_on(ended(claimed, DeliveryState.PARKED, timedelta()))
