"""Memory for large payloads is shared as the places are: receivers that hang do not take all of it."""

import asyncio

import pytest

from broker.store.deliveries.surplus import Route
from tests.support.clock import Clock
from workers.places import PAYLOADS, Places
from workers.rooms import Room
from workers.shares import Share

FAST, SLOW = "fast", "slow"
LARGE = 300_000


def at(host, subscription_id=1):
    return Route(None, (f"https://{host}:443",), subscription_id)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def places(clock):
    return Places([FAST, SLOW], 200, waiting=200, patience=0.05, slow_lane=SLOW, clock=clock)


async def load(places, route, size=LARGE, queue=FAST):
    """Return a place with room for a payload; None: there was none in time."""
    place = await places.take(queue, route)
    try:
        await places.load(place, size)
    except TimeoutError:
        places.give_back(place)
        return None
    return place


async def fill(places, route, **how):
    """Load payloads of one route until there is no room for it."""
    loaded = []
    while (place := await load(places, route, **how)) is not None:
        loaded.append(place)
    return loaded


@pytest.mark.parametrize("queue", [FAST, SLOW])
async def test_hosts_that_hang_with_large_payloads_leave_room_for_the_next_one(places, queue):
    for number in range(5):
        assert await fill(places, at(f"hung{number}", number), queue=queue)
    assert await load(places, at("fine", 99), queue=queue) is not None


async def test_one_host_alone_gets_no_more_than_its_part(places):
    loaded = await fill(places, at("a"))
    assert PAYLOADS / 6 < len(loaded) * LARGE < PAYLOADS / 2


@pytest.mark.parametrize("size", [PAYLOADS, 3 * PAYLOADS])
async def test_a_payload_that_is_larger_than_all_room_waits_for_some_and_not_for_ever(places, size):
    huge = await load(places, at("huge"), size)
    assert huge is not None
    assert await load(places, at("fine", 99)) is None
    places.give_back(huge)
    assert await load(places, at("fine", 99)) is not None


async def test_a_payload_that_takes_long_gives_its_room_back_to_the_fast_lane(places, clock):
    huge = await load(places, at("huge"), PAYLOADS)
    clock.now += 1.5
    places.look()
    assert huge.lane.queue == SLOW
    assert await load(places, at("fine", 99)) is not None
    assert await load(places, at("fine", 99), queue=SLOW) is None
    places.give_back(huge)
    assert await load(places, at("fine", 99), queue=SLOW) is not None


async def test_who_waits_for_room_gets_it_in_turns():
    room = Room(10, lambda route: [[Share(route, 1000.0)]])
    first, second = at("a", 1), at("b", 2)
    levels, got = [room.occupy(first, 10)], []

    async def take(route):
        levels.append(await room.take(route, 10, within=60))
        got.append(route)

    async with asyncio.TaskGroup() as group:
        for route in (first, first, second):
            group.create_task(take(route))
        for taken in range(3):
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(got) == taken
            room.give_back(levels.pop(), 10)
    assert got == [first, second, first]
