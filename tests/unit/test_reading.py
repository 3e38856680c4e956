"""GET requests take turns: a principal that reads a lot does not delay the others."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from broker.access import ADMINISTRATOR
from gateway import reading
from gateway.dialects import secure
from gateway.http_errors import Busy
from gateway.native.problems import NATIVE
from gateway.reading import AT_ONCE, OF_ONE, READERS, Readers
from gateway.routes import SecuredRoute


class Crowd:
    """Requests that read until they are told to end."""

    def __init__(self, group):
        self.readers = Readers()
        self.reading = Counter()
        self.over = asyncio.Event()
        self._group = group

    def read(self, principal, count=1):
        return [self._group.create_task(self._read(principal)) for _ in range(count)]

    async def _read(self, principal):
        async with self.readers.turn(principal):
            self.reading[principal] += 1
            try:
                await self.over.wait()
            finally:
                self.reading[principal] -= 1


@pytest.fixture
async def crowd():
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(group)
        yield crowd
        crowd.over.set()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_that_reads_a_lot_leaves_turns_to_others(crowd):
    crowd.read("noisy", 100)
    await settle()
    crowd.read("quiet")
    await settle()
    assert crowd.reading == {"noisy": OF_ONE, "quiet": 1}


async def test_many_take_turns(crowd):
    for principal in "abc":
        crowd.read(principal, 50)
    await settle()
    assert sum(crowd.reading.values()) == AT_ONCE
    (quiet,) = crowd.read("quiet")
    crowd.over.set()
    await settle()
    assert quiet.done()


@pytest.mark.parametrize("first", ["who reads", "who waits"])
async def test_who_gives_up_leaves_the_turn_to_the_next_one(crowd, first):
    tasks = crowd.read("a", OF_ONE + 2)
    await settle()
    gone = [tasks[0], tasks[OF_ONE]]
    for task in gone if first == "who reads" else reversed(gone):
        task.cancel()
    await settle()
    assert not tasks[OF_ONE + 1].done()
    assert crowd.reading["a"] == OF_ONE
    crowd.over.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, type(None)] * 2
    async with crowd.readers.turn("b"), crowd.readers.turn("b"), crowd.readers.turn("c"), crowd.readers.turn("c"):
        pass


async def test_who_waits_for_too_long_or_comes_when_too_many_wait_is_told_to_come_again(crowd, monkeypatch):
    monkeypatch.setattr(reading, "PATIENCE", 0.01)
    crowd.read("a", OF_ONE)
    await settle()
    with pytest.raises(Busy):
        async with crowd.readers.turn("a"):
            pass
    monkeypatch.setattr(reading, "MOST_WAITING", 0)
    monkeypatch.setattr(reading, "PATIENCE", 60)
    with pytest.raises(Busy):
        async with crowd.readers.turn("a"):
            pass


@pytest.mark.parametrize(("method", "at_once"), [("GET", OF_ONE), ("POST", 10)])
async def test_gets_of_one_principal_take_turns_and_others_do_not(method, at_once):
    over, under_way = asyncio.Event(), 0

    async def handle(_, __):
        nonlocal under_way
        under_way += 1
        await over.wait()
        return web.Response()

    async def authorize(*_):
        return ADMINISTRATOR

    app = web.Application()
    app[READERS] = Readers()
    handler = secure(SecuredRoute(method, "/", handle, "Test", {}), replace(NATIVE, authorize=authorize), None)
    tasks = [asyncio.create_task(handler(make_mocked_request(method, "/", app=app))) for _ in range(10)]
    await settle()
    assert under_way == at_once
    over.set()
    assert {response.status for response in await asyncio.gather(*tasks)} == {200}
