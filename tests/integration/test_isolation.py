"""Receivers that hang or are slow hold up nobody else, and lose nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from tests.integration.test_flow import reach, states, throw_many
from tests.support.eventually import eventually
from tests.support.receiver import Answer, receiver
from tests.support.throwing import subscribe

pytestmark = pytest.mark.slow

CONNECTING = 5.0
"""Seconds that a connection may take; our own limits are no part of them."""


@pytest.mark.transports("embedded", "rabbitmq")
@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
async def test_many_hosts_that_hang_hold_up_nobody_and_get_everything_in_the_end(client, webhooks, name, known):
    """They are more than there are places, and their signals more than messages that a deliverer holds."""
    over, begun = asyncio.Event(), time.monotonic()
    async with AsyncExitStack() as stack:
        hung = []
        for number in range(20):
            host = await stack.enter_async_context(receiver())
            url = host.answer("/hook", *[Answer()] * known, Answer(until=over))
            hung.append(await subscribe(client, f"{name}.{number}", url, timeoutSeconds=60, retry={"maxAttempts": 1}))
            if known:
                await throw_many(client, f"{name}.{number}", 1)
                await reach(client, hung[-1], delivered=1)
        fine = await subscribe(client, f"{name}.fine", webhooks.url("/fine"))
        for number in range(20):
            await throw_many(client, f"{name}.{number}", 60)
        for total in (1, 21, 41):
            await throw_many(client, f"{name}.fine", 1 if total == 1 else 20)
            await reach(client, fine, delivered=total, within=30)
        found = [await states(client, subscription) for subscription in hung]
        assert sum(counts["delivered"] + counts["dead"] for counts in found) == len(hung) * known
        await asyncio.sleep(begun + CONNECTING + 1 - time.monotonic())
        over.set()
        for subscription in hung:
            await reach(client, subscription, delivered=60 + known)


async def test_one_path_that_hangs_holds_up_no_other_one_of_its_host(client, webhooks, name):
    over = asyncio.Event()
    url = webhooks.answer("/hang", Answer(until=over))
    hung = await subscribe(client, f"{name}.hung", url, timeoutSeconds=60, retry={"maxAttempts": 1})
    await throw_many(client, f"{name}.hung", 200)
    await eventually(lambda: webhooks.most["/hang"] > 15)
    fine = await subscribe(client, f"{name}.fine", webhooks.url("/fine"))
    await throw_many(client, f"{name}.fine", 20)
    await reach(client, fine, delivered=20)
    assert (await states(client, hung))["delivered"] == 0
    over.set()
    await reach(client, hung, delivered=200)
    assert webhooks.most["/hang"] <= 50


async def test_in_the_slow_lane_a_slow_receiver_gets_its_share_beside_those_that_hang(client, webhooks, name):
    over = asyncio.Event()
    slow = await subscribe(client, f"{name}.slow", webhooks.answer("/slow", Answer(after=1.2)))
    async with AsyncExitStack() as stack:
        hung = []
        for number in range(5):
            host = await stack.enter_async_context(receiver())
            url = host.answer("/hook", Answer(until=over))
            hung.append(await subscribe(client, f"{name}.{number}", url, timeoutSeconds=60, retry={"maxAttempts": 1}))
            await throw_many(client, f"{name}.{number}", 100)
        await throw_many(client, f"{name}.slow", 30)
        await reach(client, slow, delivered=30)
        assert sum([(await states(client, one))["delivered"] for one in hung]) == 0
        over.set()
        for subscription in hung:
            await reach(client, subscription, delivered=100)


async def test_large_payloads_to_hosts_that_hang_hold_up_no_other_large_one(client, webhooks, name):
    """They are more than the payloads that fit into the memory of a lane."""
    over, large = asyncio.Event(), "x" * 900_000
    async with AsyncExitStack() as stack:
        hung = []
        for number in range(6):
            host = await stack.enter_async_context(receiver())
            url = host.answer("/hook", Answer(until=over))
            hung.append(await subscribe(client, f"{name}.{number}", url, timeoutSeconds=60, retry={"maxAttempts": 1}))
            for _ in range(3):
                await client.post("/v1/signals", {"name": f"{name}.{number}", "payload": large})
        fine = await subscribe(client, f"{name}.fine", webhooks.url("/fine"))
        for total in range(1, 4):
            await client.post("/v1/signals", {"name": f"{name}.fine", "payload": large})
            await reach(client, fine, delivered=total, within=20)
        assert sum([(await states(client, one))["delivered"] for one in hung]) == 0
        over.set()
        for subscription in hung:
            await reach(client, subscription, delivered=3)
