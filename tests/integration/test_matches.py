"""What becomes of subscriptions that are changed between the matching of signals and their recording."""

from __future__ import annotations

import pytest

from broker.filters import parse_filter
from broker.matching import Matcher
from broker.signals import Throw
from broker.store.deliveries.holding import Room, always
from broker.store.signals.matches import Limits, Outdated, find_matches
from broker.store.signals.recording import record_matched
from broker.store.signals.signals import SignalStore
from broker.subscriptions import SubscriptionSpec
from tests.support.builders import QUEUE, RESCUE_AFTER, accept
from tests.support.listing import listed

LIMITS = Limits()


@pytest.fixture
def make(subscriptions):
    async def make(**spec):
        return (await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,), **spec), secret=None)).id

    return make


@pytest.fixture
def match(database):
    """Match signals that are thrown now, as a recorder does before the transaction."""

    async def match(count=1):
        return await find_matches(database, Matcher(), await accept(database, *["sig"] * count), LIMITS)

    return match


@pytest.fixture
def finish(database):
    """Record what was matched."""

    async def finish(matches, *, strictly=True):
        room = Room(always)
        await record_matched(database, matches, strictly=strictly, rescue_after=RESCUE_AFTER, limits=LIMITS, room=room)

    return finish


@pytest.fixture
def states(deliveries):
    async def states(subscription_id):
        return [(one.state.value, one.reason) for one in await listed(deliveries, subscription_id=subscription_id)]

    return states


async def test_one_that_was_deleted_is_owed_what_was_accepted_before_and_it_is_cancelled(
    make, match, finish, states, subscriptions
):
    subscription_id = await make()
    matches = await match()
    await subscriptions.delete(subscription_id)
    await finish(matches)
    assert await states(subscription_id) == [("cancelled", "the subscription was deleted")]


async def test_one_that_another_signal_consumed_is_owed_nothing(make, match, finish, states):
    subscription_id = await make(once=True)
    first, second = await match(), await match()
    await finish(second)
    await finish(first)
    assert await states(subscription_id) == [("pending", None)]


async def test_one_that_was_only_paused_is_owed_all_the_same(make, match, finish, states, database):
    subscription_id = await make()
    matches = await match(2)
    await database.execute("UPDATE subscriptions SET paused_at = now()")
    await finish(matches)
    assert len(await states(subscription_id)) == 2


async def test_one_that_asks_for_the_same_signals_is_not_matched_again(make, match, finish, states, database):
    subscription_id = await make()
    matches = await match()
    await database.execute("UPDATE subscriptions SET schedule = '{1}', address = 'other', description = 'changed'")
    await finish(matches)
    assert await states(subscription_id) == [("pending", None)]


async def test_one_that_asks_for_other_signals_is_matched_again(make, match, finish, states, database):
    other = await make()
    for number, change in enumerate(("tenant_id = 'other', name = 'another'", "disabled_because = 'gone'")):
        changed = await make()
        matches = await match()
        await database.execute(f"UPDATE subscriptions SET {change} WHERE id = $1", changed)
        with pytest.raises(Outdated):
            await finish(matches)
        assert len(await states(other)) == number
        await SignalStore(database).record(matches.signals, rescue_after=RESCUE_AFTER)
        assert (await states(changed), len(await states(other))) == ([], number + 1)


async def test_one_that_is_changed_again_and_again_does_not_hold_up_the_recording(
    make, match, finish, states, database
):
    subscription_id = await make()
    matches = await match()
    await database.execute("UPDATE subscriptions SET name = 'another'")
    await finish(matches, strictly=False)
    assert await states(subscription_id) == [("pending", None)]


async def test_one_that_was_created_meanwhile_is_owed_what_was_accepted_after_that(
    make, match, finish, states, database
):
    signals = SignalStore(database)
    matches = await match()
    late = await make()
    await signals.record(await accept(database, "sig"), rescue_after=RESCUE_AFTER)
    await finish(matches)
    assert await states(late) == [("pending", None)]


async def test_matching_that_takes_long_is_recorded_in_several_steps(make, database):
    await make(filter=parse_filter({"p": {"operator": "IN", "values": ["x"], "inverted": True}}))
    signals = SignalStore(database, limits=Limits(seconds=0))
    thrown = await accept(database, *[Throw(name="sig")] * 3)
    recorded = await signals.record(thrown, rescue_after=RESCUE_AFTER)
    assert ([due.signal_id for due in recorded.due_attempts], recorded.left) == ([thrown[0].id], thrown[1:])
