"""A batch has few throws under way at a time, so that other requests need not wait for all of them."""

import asyncio
import json
from types import SimpleNamespace

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from broker.access import ADMINISTRATOR
from broker.offloading import Offloader
from gateway.native import batches
from gateway.native.batches import BatchesApi
from gateway.offloading import OFFLOADER


class Intake:
    """Accepts throws after a while, and counts how many are under way."""

    def __init__(self):
        self.under_way = self.most = self.accepted = 0

    async def accept(self, _, **__):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        self.accepted += 1
        return SimpleNamespace(signal=SimpleNamespace(id=self.accepted))


async def test_few_throws_of_a_batch_are_under_way_at_a_time_and_answered_in_order(monkeypatch):
    async def read(_):
        return json.dumps({"signals": [{"name": "a"}] * 500}).encode()

    monkeypatch.setattr(batches, "read_json", read)
    app, intake = web.Application(), Intake()
    app[OFFLOADER] = Offloader()
    answer = await BatchesApi(intake).throw(make_mocked_request("POST", "/v1/signals/batch", app=app), ADMINISTRATOR)
    assert [one["id"] for one in json.loads(answer.body)["results"]] == list(range(1, 501))
    assert intake.most == 100
