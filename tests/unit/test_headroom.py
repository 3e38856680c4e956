"""Whose attempts go to the queues, and whose wait."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import TransportError, Unroutable
from broker.reach import EVERYWHERE, Reach
from broker.store.deliveries.contenders import Contender
from broker.subscriptions import Subscription, SubscriptionSpec
from broker.targets import HandlerTarget, PullTarget
from broker.topology import ATTEMPT, LEASED, SLOW_ATTEMPT, attempt_queue
from tests.support.builders import QUEUE
from tests.support.clock import Clock
from workers.headroom import CAPACITY, Headroom


class Depths(Counter):
    """Stands for a transport: how many messages each queue holds, or the error of who asks."""

    asked = 0

    async def depth(self, queue, *, timeout):  # noqa: ARG002
        self.asked += 1
        found = self[queue]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def depths():
    return Depths()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def headroom(depths, clock):
    return Headroom(depths, timeout=timedelta(seconds=1), clock=clock)


def of(subscription_id, tenant_id=None, target=QUEUE, owner=EVERYWHERE):
    spec = SubscriptionSpec(name="a", targets=(target,), tenant_id=tenant_id)
    return Subscription(id=subscription_id, since=0, spec=spec, owner=owner, created_at=datetime.now(UTC))


def admitted(headroom, subscription, count=CAPACITY):
    return sum(headroom.has_room(subscription) for _ in range(count))


async def test_one_alone_has_most_of_the_room_and_leaves_some_to_each_that_comes(headroom):
    assert CAPACITY * 2 // 3 < admitted(headroom, of(1, "a")) < CAPACITY * 9 // 10
    assert admitted(headroom, of(2, "b")) > 5
    assert admitted(headroom, of(3, "c")) > 1
    assert not headroom.has_room(of(1, "a"))


async def test_subscriptions_share_what_their_tenant_has(headroom):
    of_many = [admitted(headroom, of(number, "a")) for number in range(100)]
    assert sum(of_many) < CAPACITY * 9 // 10
    assert admitted(headroom, of(200, "b")) > 5


@pytest.mark.slow
async def test_subscriptions_of_no_tenant_share_as_those_of_one_do(headroom):
    """However many they are, they do not take the room of all tenants."""
    assert sum(admitted(headroom, of(number)) for number in range(400)) < CAPACITY * 9 // 10
    assert admitted(headroom, of(401, "a")) > 5


@pytest.mark.slow
async def test_what_a_tenants_principal_creates_for_no_tenant_counts_as_the_tenants(headroom):
    assert sum(admitted(headroom, of(number, owner=Reach(("a",), untenanted=True))) for number in range(400))
    assert not headroom.has_room(of(401, "a"))
    assert headroom.has_room(of(402))


async def test_room_is_divided_between_tenants_and_then_between_their_subscriptions(headroom, depths):
    depths[ATTEMPT] = CAPACITY - 120
    headroom.note([ATTEMPT])
    contenders = {1: Contender("", ("a",)), 2: Contender("", ("a",)), 3: Contender("", None), 4: Contender("app", None)}
    wanted = dict.fromkeys(contenders, 100)
    assert await headroom.divide(wanted, contenders, most=50) == {1: 13, 2: 12, 3: 25, 4: 50}
    assert await headroom.divide({3: 3, 1: 100}, contenders, most=50) == {3: 3, 1: 47}


async def test_room_comes_back_as_messages_are_taken(headroom, depths, clock):
    first = admitted(headroom, of(1, "a"))
    depths[ATTEMPT], depths[SLOW_ATTEMPT] = first - 50, 50
    await headroom.look()
    assert not headroom.has_room(of(1, "a")), "none was taken, they were moved"
    assert headroom.has_room(of(2, "b"))
    depths.clear()
    clock.now += 1
    await headroom.free()
    assert admitted(headroom, of(1, "a")) == first


async def test_a_queue_that_was_full_is_looked_at_although_nothing_could_be_published_since(headroom, depths, clock):
    depths[ATTEMPT] = 2 * CAPACITY
    headroom.note([ATTEMPT] * CAPACITY)
    await headroom.look()
    assert admitted(headroom, of(1, "a")) == 1
    depths.clear()
    clock.now += 1
    await headroom.look()
    assert admitted(headroom, of(1, "a")) > 5


async def test_what_others_have_published_leaves_less(headroom, depths):
    depths[ATTEMPT] = CAPACITY - 40
    assert await headroom.free() == 20, "half of it"
    assert 5 < admitted(headroom, of(1, "a")) < 40
    headroom.note([ATTEMPT] * 10)
    assert await headroom.free() < 12


async def test_what_comes_from_the_store_all_the_time_leaves_room_to_what_is_thrown(headroom, depths, clock):
    """Another process publishes as much as it may, in the time in which deliverers begin 50."""
    other = Headroom(depths, timeout=timedelta(seconds=1), clock=clock)
    headroom.note([ATTEMPT] * CAPACITY)  # so many that it looks
    for _ in range(30):
        depths[ATTEMPT] = max(0, depths[ATTEMPT] - 50) + await other.free()
        clock.now += 1
    await headroom.look()
    assert admitted(headroom, of(1, "quiet")) > 20


async def test_in_a_flood_each_that_has_nothing_waiting_may_still_have_one(headroom, depths):
    depths[ATTEMPT] = 50 * CAPACITY
    assert await headroom.free() <= 1
    assert admitted(headroom, of(1, "a")) == 1
    assert admitted(headroom, of(2, "b")) == 1


async def test_apps_have_queues_of_their_own(headroom, depths):
    handler = HandlerTarget(app="billing", handler="invoice")
    first = admitted(headroom, of(1, "a", handler))
    assert admitted(headroom, of(2, "a")) == first
    depths["deliveries.attempt.handlers.billing"] = Unroutable("no such queue")
    await headroom.look()
    assert not headroom.has_room(of(1, "a", handler)), "nobody takes them"


async def test_without_an_answer_it_stays_as_it_was(headroom, depths):
    first = admitted(headroom, of(1, "a"))
    depths[ATTEMPT] = TransportError("away")
    await headroom.look()
    assert first
    assert not headroom.has_room(of(1, "a"))


async def test_an_empty_queue_is_looked_at_once_a_second_and_one_that_holds_something_all_the_time(
    headroom, depths, clock
):
    async def asked_in(seconds):
        before = depths.asked
        for _ in range(round(seconds * 10)):
            clock.now += 0.1
            await headroom.free()
        return (depths.asked - before) / 2  # lanes

    assert await asked_in(3) <= 4
    headroom.note([ATTEMPT])
    assert await asked_in(0.1) == 1
    depths[ATTEMPT] = 3
    await asked_in(1.2)
    assert await asked_in(1) == 10


async def publish_what_fits(headroom, depths, clock, *, seconds, drained_per_second):
    """Publish from the store for so long, while deliverers drain the queue; return how many were published."""
    published = 0
    for _ in range(round(seconds * 10)):
        free = await headroom.free()
        headroom.note([ATTEMPT] * free)
        published += free
        clock.now += 0.1
        depths[ATTEMPT] = max(0, depths[ATTEMPT] + free - drained_per_second // 10)
    return published


@pytest.mark.parametrize("drained_per_second", [5000, 10_000])
async def test_a_queue_that_is_drained_fast_holds_more(headroom, depths, clock, drained_per_second):
    await publish_what_fits(headroom, depths, clock, seconds=5, drained_per_second=drained_per_second)

    published = await publish_what_fits(headroom, depths, clock, seconds=5, drained_per_second=drained_per_second)

    assert published > 5 * drained_per_second * 0.9
    assert depths[ATTEMPT] <= drained_per_second * 0.6, "who comes last waits for half a second"


async def test_a_queue_that_is_drained_more_slowly_holds_less_again(headroom, depths, clock):
    await publish_what_fits(headroom, depths, clock, seconds=5, drained_per_second=5000)

    await publish_what_fits(headroom, depths, clock, seconds=10, drained_per_second=100)

    assert depths[ATTEMPT] <= CAPACITY


async def test_a_queue_to_which_little_is_published_holds_no_more_however_fast_that_is_drained(headroom, depths, clock):
    for _ in range(100):
        headroom.note([ATTEMPT] * 10)
        clock.now += 1.1
        await headroom.free()

    assert await headroom.free() == CAPACITY // 2


async def test_what_was_learnt_of_a_queue_is_forgotten_while_nothing_is_published(headroom, depths, clock):
    await publish_what_fits(headroom, depths, clock, seconds=5, drained_per_second=5000)
    depths.clear()
    await headroom.free()

    clock.now += 60
    await headroom.free()

    assert await headroom.free() == CAPACITY // 2


async def test_there_is_always_room_for_what_callers_lease_and_it_takes_none(headroom, depths):
    assert admitted(headroom, of(1, target=PullTarget()), 9999) == 9999
    headroom.note([attempt_queue(LEASED)] * 9999)
    assert await headroom.divide({1: 500}, {1: Contender(LEASED, None)}, most=1000) == {1: 500}
    assert depths.asked == 0
