"""The store's half of expiry: what is still owed at the moment is cancelled then, whatever it waits for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.access import ADMINISTRATOR
from broker.deliveries import DeliveryState, DueAttempt, Reason
from broker.signals import Throw
from broker.store.deliveries.attempts import Claimed
from broker.store.deliveries.expiring import Expired, ExpiringStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.subscriptions import HeadOfLine, SubscriptionSpec
from tests.support.attempts import attempt_store, claim, sweep_waiting
from tests.support.builders import QUEUE, RESCUE_AFTER, SECOND, accept, ended, record
from tests.support.expiring import expire
from tests.support.listing import listed
from tests.support.owing import balanced, end

CANCELLED = ("cancelled", "expired", None)


def later():
    return datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def sweep(database):
    async def sweep(*, limit=100, overdue_too=False):
        return await ExpiringStore(database).sweep(limit=limit, overdue_too=overdue_too, rescue_after=RESCUE_AFTER)

    return sweep


@pytest.fixture
def owe(database, subscriptions):
    """Call it to return the due attempts of a new subscription at signals that expire in an hour."""

    async def owe(count=1, *, ordering_key=None, **spec):
        name = f"sig.{len((await subscriptions.page()).items)}"
        await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), **spec), secret=None)
        thrown = Throw(name=name, expires_at=later(), ordering_key=ordering_key)
        signals = await accept(database, *[thrown] * count)
        await record(database, *signals)
        return [
            DueAttempt(row["signal_id"], row["subscription_id"], 1)
            for row in await database.fetch(
                "SELECT * FROM deliveries WHERE signal_id = ANY ($1) ORDER BY signal_id", [one.id for one in signals]
            )
        ]

    return owe


@pytest.fixture
def standing(deliveries):
    async def standing(due):
        delivery = (await deliveries.get((due.signal_id, due.subscription_id))).delivery
        return delivery.state, delivery.reason, delivery.due_at

    return standing


@pytest.mark.slow
@pytest.mark.parametrize("reason", Reason)
async def test_a_parked_delivery_expires_whatever_it_waits_for(database, owe, sweep, standing, reason):
    expiring, other = await owe(2)
    await database.execute("UPDATE deliveries SET state = 'parked', reason = $1", reason.value)
    await database.execute("UPDATE deliveries SET due_at = $1 WHERE signal_id = $2", later(), other.signal_id)
    assert await sweep() == Expired()
    await expire(database, expiring.signal_id)
    assert await sweep() == Expired(looked=1, cancelled=1)
    assert await standing(expiring) == CANCELLED
    assert (await standing(other))[0] == "parked"
    assert await balanced(database)
    assert await sweep() == Expired()


async def test_a_delivery_whose_message_waits_for_a_worker_expires_and_the_message_is_out_of_date(
    database, owe, sweep, standing, attempts
):
    (due,) = await owe()
    await expire(database, due.signal_id)
    assert await attempts.claim(due) is None, "the deliverer may come before the scheduler, and leaves it to that"
    assert (await sweep()).cancelled == 1
    assert await attempts.claim(due) is None
    assert await standing(due) == CANCELLED


async def test_an_attempt_that_is_under_way_ends_normally(database, owe, sweep, standing, attempts):
    delivered, failed = await owe(2)
    one, other = await claim(attempts, delivered, failed)
    await expire(database, delivered.signal_id, failed.signal_id)
    assert await sweep(overdue_too=True) == Expired()
    await attempts.finish(ended(one, DeliveryState.DELIVERED))
    await attempts.finish(ended(other, DeliveryState.PARKED, pause=timedelta(hours=1)))
    assert (await sweep()).cancelled == 1
    assert (await standing(delivered))[0] == "delivered"
    assert await standing(failed) == CANCELLED


async def test_an_attempt_whose_deliverer_was_killed_is_over_when_its_end_is_overdue(
    database, owe, sweep, standing, attempts
):
    (due,) = await owe()
    await attempts.claim(due)
    await expire(database, due.signal_id)
    await database.execute("UPDATE deliveries SET due_at = now()")
    assert await sweep() == Expired(), "PostgreSQL was away, and its outcome may be kept somewhere"
    assert (await sweep(overdue_too=True)).cancelled == 1
    assert await standing(due) == CANCELLED


async def test_an_abandoned_attempt_is_not_begun_again_once_the_signal_has_expired(
    database, owe, sweep, standing, attempts
):
    (due,) = await owe()
    await attempts.claim(due)
    await expire(database, due.signal_id)
    assert await claim(attempts, due, redelivered=True) == [None]
    assert (await sweep(overdue_too=True)).cancelled == 1, "its message came back: no need to wait for its timeout"
    assert await standing(due) == CANCELLED


@pytest.mark.slow
@pytest.mark.parametrize("state", ["parked", "pending"])
async def test_the_ordering_group_of_an_expired_delivery_goes_on_at_once(database, owe, sweep, attempts, state):
    first, second, third = await owe(3, ordered=True, ordering_key="k")
    if state == "parked":
        await end(database, first, DeliveryState.PARKED)
    await expire(database, first.signal_id, third.signal_id)
    assert await sweep() == Expired(looked=2, cancelled=2, due_attempts=(second,))
    assert isinstance(await attempts.claim(second), Claimed)


@pytest.mark.parametrize("head_of_line", HeadOfLine)
async def test_a_dead_delivery_holds_up_its_group_only_until_its_signal_expires(database, owe, standing, head_of_line):
    """Nobody can redrive it any more."""
    first, second = await owe(2, ordered=True, ordering_key="k", head_of_line=head_of_line)
    await end(database, first, DeliveryState.DEAD)
    ordering = OrderingStore(database)
    skips = head_of_line is HeadOfLine.SKIP
    assert await ordering.sweep(most=1000, rescue_after=RESCUE_AFTER) == ([second] if skips else [])
    await expire(database, first.signal_id)
    assert await ordering.sweep(most=1000, rescue_after=RESCUE_AFTER) == ([] if skips else [second])
    assert (await standing(first))[0] == "dead"


@pytest.mark.slow
async def test_the_concurrency_slot_of_an_expired_delivery_is_free(database, owe, sweep, attempts):
    first, second, third = await owe(3, max_in_flight=1)
    claimed, *_ = await claim(attempts, first, second, third)
    effects = await attempts.finish(ended(claimed, DeliveryState.DELIVERED))
    assert effects.due_attempts == [second], "it has the slot, and waits in the queue"
    await expire(database, second.signal_id)
    assert (await sweep()).cancelled == 1
    assert await sweep_waiting(PausingStore(database)) == [third]


async def consumer(subscriptions, due):
    return (await subscriptions.get(due.subscription_id)).consumed_by


async def test_a_once_subscription_waits_for_another_signal_when_its_delivery_expires(
    database, owe, sweep, subscriptions
):
    (due,) = await owe(once=True)
    assert await consumer(subscriptions, due) == due.signal_id
    await expire(database, due.signal_id)
    await sweep()
    assert await consumer(subscriptions, due) is None


async def test_a_once_subscription_waits_for_another_signal_when_its_delivery_is_cancelled(
    database, owe, subscriptions, deliveries
):
    (due,) = await owe(once=True)
    await end(database, due, DeliveryState.DEAD)
    assert await consumer(subscriptions, due) == due.signal_id, "it can be redriven"
    assert await deliveries.cancel((due.signal_id, due.subscription_id), by=ADMINISTRATOR)
    assert await consumer(subscriptions, due) is None


@pytest.fixture
def free(database):
    """Call it to free `once` subscriptions; it returns how many were looked at."""

    async def free():
        return await ExpiringStore(database).free(limit=10)

    return free


async def test_a_once_subscription_waits_for_another_signal_when_that_of_its_dead_delivery_expires(
    database, owe, free, subscriptions
):
    (due,) = await owe(once=True)
    await end(database, due, DeliveryState.DEAD)
    assert await free() == 0
    assert await consumer(subscriptions, due) == due.signal_id, "it can be redriven"
    await expire(database, due.signal_id)
    assert await free() == 1
    assert await consumer(subscriptions, due) is None
    assert await free() == 0
    name = (await subscriptions.get(due.subscription_id)).spec.name
    (following,) = await record(database, *await accept(database, name, name))
    assert await consumer(subscriptions, due) == following.signal_id
    await database.execute("UPDATE deliveries SET state = 'dead'")
    assert await free() == 0, "this one never expires"
    await database.execute("UPDATE subscriptions SET consumed_until = now()")
    assert await free() == 1, "a recorder of an earlier version had it consumed"
    assert await consumer(subscriptions, due) == following.signal_id
    assert await free() == 0


@pytest.mark.parametrize("state", [DeliveryState.DEAD, DeliveryState.DELIVERED])
async def test_an_attempt_under_way_when_its_signal_expires_decides_on_the_once_subscription(
    database, owe, free, subscriptions, state
):
    (due,) = await owe(once=True)
    async with attempt_store(database) as attempts:
        claimed = await attempts.claim(due)
        await expire(database, due.signal_id)
        assert (await free(), await free()) == (1, 0), "it is looked at again a second later"
        assert await consumer(subscriptions, due) == due.signal_id
        await attempts.finish(ended(claimed, state))
    await database.execute("UPDATE subscriptions SET consumed_until = now()")
    assert await free() == 1
    assert await consumer(subscriptions, due) == (None if state is DeliveryState.DEAD else due.signal_id)
    assert await database.fetchval("SELECT consumed_until FROM subscriptions") is None


async def test_a_signal_that_expired_before_it_was_recorded_consumes_nothing(database, subscriptions, deliveries):
    once = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,), once=True), secret=None)
    expired, fresh, late = await accept(
        database, Throw(name="sig", expires_at=datetime(2020, 1, 1, tzinfo=UTC)), "sig", "sig"
    )
    (due,) = await record(database, expired, fresh, late)
    assert due.signal_id == fresh.id
    assert [(one.signal_id, one.state) for one in await listed(deliveries)] == [
        (expired.id, "cancelled"),
        (fresh.id, "pending"),
    ]
    assert (await subscriptions.get(once.id)).consumed_by == fresh.id
    assert await balanced(database)


async def test_deliveries_of_an_older_recorder_expire_as_their_signals_say(database, owe, sweep, standing):
    expired, expiring = await owe(2)
    await database.execute("UPDATE signals SET expires_at = now() WHERE id = $1", expired.signal_id)
    (lasting,) = await record(database, *await accept(database, "sig.0"))
    await database.execute("UPDATE deliveries SET expires_at = DEFAULT")
    assert await sweep() == Expired(looked=3, cancelled=1)
    assert await standing(expired) == CANCELLED
    assert await sweep() == Expired(), "they have their moments now"
    moments = await database.fetch("SELECT expires_at FROM deliveries ORDER BY signal_id")
    assert [row["expires_at"] is None for row in moments] == [False, False, True]
    assert (await standing(expiring))[0] == (await standing(lasting))[0] == "pending"


async def test_many_expire_a_part_at_a_time_the_earliest_first(database, owe, sweep):
    due_attempts = await owe(5)
    await expire(database, *(due.signal_id for due in due_attempts))
    await database.execute("UPDATE deliveries SET expires_at = expires_at - signal_id * $1::interval", SECOND)
    looked = [await sweep(limit=2) for _ in range(4)]
    assert [one.cancelled for one in looked] == [2, 2, 1, 0]
