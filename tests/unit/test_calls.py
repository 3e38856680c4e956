import asyncio

import pytest

from broker.store.deliveries.surplus import Route
from workers.calls import Calls

ROUTE = Route(None, ("a",), 1)
OTHER = Route(None, ("a",), 2)


async def test_a_host_is_called_by_so_many_at_a_time():
    calls, now, most, over = Calls(2), 0, 0, asyncio.Event()

    async def call(host):
        nonlocal now, most
        async with calls.at(host, ROUTE):
            now += 1
            most = max(most, now)
            await over.wait()
            now -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(call("a"))
        await asyncio.sleep(0)
        assert now == 2
        group.create_task(call("b"))
        group.create_task(call(None))
        await asyncio.sleep(0)
        assert now == 4
        over.set()
    assert (now, most) == (0, 4)


async def test_whose_turn_does_not_come_does_not_call():
    calls = Calls(1, patience=0.001)
    async with calls.at("a", ROUTE) as waited:
        assert not waited
        with pytest.raises(TimeoutError):
            async with calls.at("a", ROUTE):
                pytest.fail("it was called")
    async with calls.at("a", ROUTE):
        pass


async def test_a_call_that_fails_makes_room_for_the_next_one():
    calls = Calls(1, patience=0.001)
    with pytest.raises(ZeroDivisionError):
        async with calls.at("a", ROUTE):
            raise ZeroDivisionError
    async with calls.at("a", ROUTE):
        pass


@pytest.mark.parametrize(("at_once", "fails", "expected"), [(0, False, True), (60, False, False), (60, True, True)])
async def test_who_had_to_wait_for_long_or_for_a_failure_asks_again(at_once, fails, expected):
    calls, waiting = Calls(1, patience=60, at_once=at_once), asyncio.Event()

    async def wait():
        waiting.set()
        async with calls.at("a", ROUTE) as waited:
            return waited

    async with asyncio.TaskGroup() as group, calls.at("a", ROUTE):
        turn = group.create_task(wait())
        await waiting.wait()
        if fails:
            calls.note_failure("a")
    assert turn.result() is expected


async def test_a_path_that_hangs_leaves_calls_to_others_of_its_host():
    calls, begun, over = Calls(50), [], asyncio.Event()

    async def call(route):
        async with calls.at("a", route):
            begun.append(route)
            if route is ROUTE:
                await over.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(60):
            group.create_task(call(ROUTE))
        for _ in range(20):
            group.create_task(call(OTHER))
        for _ in range(50):
            await asyncio.sleep(0)
        assert begun.count(OTHER) == 20
        assert 30 < begun.count(ROUTE) < 50
        over.set()
    assert begun.count(ROUTE) == 60
