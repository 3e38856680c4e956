"""What readiness depends on is asked in turn, and nothing waits for long for an answer that does not come."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from broker.health import Health
from tests.support.eventually import eventually


async def test_a_check_that_hangs_holds_up_the_next_one_for_half_a_second_only():
    clock, asked = asyncio.get_running_loop().time, {}

    async def hang():
        asked["store"] = clock()
        await asyncio.Event().wait()

    async def work():
        asked["work"] = clock()

    health = Health(SimpleNamespace(), SimpleNamespace(ready=True))
    health.require("store", hang)
    health.require("work", work)
    async with health:
        await eventually(lambda: "work" in asked)
        assert asked["work"] - asked["store"] < 1.9, "the time after which the first one counts as failed"
        await eventually(lambda: health.checks()["work"])
        assert not health.checks()["store"]
