"""Events of a product that is killed while it tells them."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.eventually import eventually
from tests.support.postgres import fresh_database
from tests.support.product import Process, client_of
from tests.support.receiver import Answer
from tests.support.throwing import subscribe, throw

pytestmark = pytest.mark.slow

COUNT = 150


async def test_each_event_is_one_signal_although_the_product_is_killed_again_and_again(
    store_server, tmp_path, webhooks
):
    gone = webhooks.answer("/gone", Answer(status=410))

    def told():
        bodies = [json.loads(request.body) for request in webhooks.requests if request.path == "/events"]
        return {(one["id"], one["payload"]["eventId"], one["payload"]["subscriptionId"]) for one in bodies}

    async with fresh_database(store_server) as store_url:
        environment = {"STORE_URL": store_url, "DATA_DIR": str(tmp_path)}
        async with Process("run", environment=environment, log=tmp_path / "log") as process:
            async with client_of(process.url) as client:
                await subscribe(client, "$broker.subscription.disabled", webhooks.url("/events"))
                await asyncio.gather(*(subscribe(client, "a", gone) for _ in range(COUNT)))
                await throw(client, "a")
            for share in (0, COUNT // 3, 2 * COUNT // 3):
                await eventually(lambda share=share: len(told()) > share, within=60)
                process.kill()
                await process.process.wait()
                await process.start()
            await eventually(lambda: len({subscription_id for _, _, subscription_id in told()}) == COUNT, within=60)
            async with client_of(process.url) as client:
                found = (await client.get("/v1/signals?name=$broker.subscription.disabled&limit=1000"))["items"]
                events = (await client.get("/v1/events?type=$broker.subscription.disabled&limit=1000"))["items"]
    assert len(events) == len(found) == COUNT
    assert told() == {(event["signalId"], event["id"], event["subscriptionId"]) for event in events}
