"""Ordered subscriptions get signals of one key in the order of their answers, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web

from tests.chaos.faults.processes import kill
from tests.chaos.ordering import Subscriber, Throw, Throwers, compare
from tests.chaos.stack import TWO_OF_EACH, make_rng, rabbitmq_stack
from tests.support.eventually import eventually
from tests.support.product import client_of

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

KEYS = ("a", "a", "a", "b", "b", "c", "d")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(postgres, rabbitmq, tmp_path_factory):
    """Two of each process that handles signals: they overtake each other."""
    directory = tmp_path_factory.mktemp("lines")
    async with rabbitmq_stack(postgres, [rabbitmq], directory, make_rng(), TWO_OF_EACH) as stack:
        yield stack


@asynccontextmanager
async def subscribed(client, name, *subscribers: Subscriber) -> AsyncIterator[None]:
    """Run webhooks of *subscribers*, each with an ordered subscription."""
    app = web.Application()
    for number, subscriber in enumerate(subscribers):
        app.router.add_post(f"/{number}", subscriber.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        for number in range(len(subscribers)):
            target = {"kind": "webhook", "url": f"{url}/{number}"}
            spec = {"name": name, "ordered": True, "retry": {"schedule": [0.05] * 50}}
            await client.post("/v1/subscriptions", {**spec, "target": target})
        yield
    finally:
        await runner.cleanup()


async def test_the_order_is_kept_whoever_is_killed(stack):
    name = f"lines-{uuid.uuid4().hex[:8]}"
    subscribers = Subscriber(stack.rng, refuses=0), Subscriber(stack.rng, refuses=0.05)
    throwers, stopping = Throwers(lambda: stack.gateways, KEYS, name, stack.rng), asyncio.Event()
    async with client_of(stack.url) as client, subscribed(client, name, *subscribers):
        throwing = asyncio.create_task(throwers.run(stopping, pause=0.6))
        victims = ["recorder", "other-recorder", "deliverer", "other-gateway"]
        stack.rng.shuffle(victims)
        for role in victims:
            await asyncio.sleep(stack.rng.uniform(0.1, 0.8))
            await kill(role).befall(stack)
        await eventually(lambda: throwers.count > 100, within=60)
        stopping.set()
        await throwing
        thrown = throwers.count

        async def over() -> bool:
            states = (await client.get("/v1/ledger"))["deliveries"]
            return states["delivered"] >= 2 * thrown and states["pending"] == states["parked"] == 0

        await eventually(over, within=60, every=0.2)
    print(f"{thrown} signals thrown with {len(set(KEYS))} keys")
    assert not compare(throwers.thrown, subscribers)


async def test_the_checker_sees_what_is_wrong():
    one, other = (Subscriber(random.Random(0), refuses=0) for _ in range(2))
    one.taken["a"], other.taken["a"] = [1, 2], [2, 1]
    sentences = compare({"a": [Throw(1, 0.0, 1.0), Throw(2, 2.0, 3.0), Throw(3, 2.0, 3.0)]}, [one, other])
    assert sentences == [
        "the subscribers got the signals of a in different orders: [[1, 2], [2, 1]]",
        "signal 3 did not come",
        "signal 3 did not come",
        "signal 2 came before 1, which was answered before it was thrown",
    ]
    one.note(one.taken["a"], 1)
    assert one.violations == ["signal 1 came again after 2"]
