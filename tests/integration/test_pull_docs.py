"""docs/pull.md: each curl line in it is answered as it says, in its order."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path

from tests.support.leasing import Puller
from tests.support.product import ADMIN_TOKEN

TEXT = (Path(__file__).parents[2] / "docs" / "pull.md").read_text()
LINES = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


async def test_every_request_is_answered_as_the_document_says(client, name):
    puller = Puller(client, name)

    async def run(line, leased=None):
        line = line.replace("http://127.0.0.1:8080", client.url).replace("order.paid", name)
        line = line.replace("/7/", f"/{puller.subscription_id}/").replace("lease_8cA...", leased or "")
        command = ["sh", "-c", line]
        environment = os.environ | {"TOKEN": ADMIN_TOKEN}
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    subscribe, lease, ack, extend, fail, give_back = LINES
    puller.subscription_id = (await run(subscribe))["id"]
    for endings in ([ack], [extend, fail], [give_back]):
        await puller.throw({"order": 7})
        [leased] = (await run(lease))["deliveries"]
        assert leased["signal"]["payload"] == {"order": 7}
        for line in endings:
            token = leased["leaseToken"]
            assert await run(line, token) == {"results": [{"leaseToken": token, "ok": True, "error": None}]}
    assert (await puller.delivery(leased))["attempts"][0]["worker"] == "billing-1"
