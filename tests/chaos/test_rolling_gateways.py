"""Gateways behind a balancer that does not know when one of them is about to stop."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.chaos.stack import SETTINGS
from tests.support.balancer import balancer
from tests.support.product import ADMIN_TOKEN, Process

pytestmark = pytest.mark.timeout(300)

CALLERS, EACH_SECOND = 20, 150


@pytest.mark.slow
async def test_a_rolling_restart_breaks_no_connection_that_a_caller_keeps(database_url, rabbitmq_url, tmp_path):
    environment = SETTINGS | {"STORE_URL": database_url, "TRANSPORT_URL": rabbitmq_url}
    gateways = [Process("gateway", environment=environment, log=tmp_path / f"{number}.log") for number in range(2)]
    over, statuses = asyncio.Event(), []

    async def call(url):
        """Throw at a pace over one connection; aiohttp tries nothing again that may have been worked on."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:
            while not over.is_set():
                try:
                    async with session.post("/v1/signals", json={"name": "placed"}) as response:
                        statuses.append(response.status)
                except aiohttp.ClientError as error:
                    statuses.append(repr(error))
                await asyncio.sleep(CALLERS / EACH_SECOND)

    async with (
        gateways[0],
        gateways[1],
        balancer([gateway.url for gateway in gateways], latency=0.03) as url,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CALLERS):
            group.create_task(call(url))
        for gateway in gateways * 2:
            await asyncio.sleep(1)
            assert await gateway.stop() == 0
            await gateway.start()
        await asyncio.sleep(1)
        over.set()
    assert len(statuses) > 4 * EACH_SECOND
    assert {status for status in statuses if status != 202} == set()
