"""What a 2xx promised is kept whatever is killed, restarted or crashed under load.

Every test is the same experiment with another fault; see `tests.support.ledger` for what is compared.
"""

from __future__ import annotations

import asyncio

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("role", ["gateway", "recorder", "deliverer", "scheduler"])
async def test_a_killed_process_loses_nothing(stack, role):
    """Webhooks are refused at first, so that deliveries are parked and released while it happens."""

    async def kill_twice(stack, _):
        await stack.kill(role)
        await stack.kill(role)

    result = await stack.survives(kill_twice, refusals=30)
    assert not result.violations
    assert result.unanswered == 0 or role == "gateway"
    assert result.refused == 0


async def test_a_rolling_restart_refuses_nobody(stack):
    async def replace_each(stack, load):
        for role in stack.processes:
            await stack.replace(role, load)

    result = await stack.survives(replace_each, refusals=10)
    assert not result.violations
    assert (result.refused, result.unanswered) == (0, 0)
    assert result.repeats <= 10


async def test_a_restart_of_rabbitmq_loses_nothing(stack, rabbitmq):
    async def restart(*_):
        await asyncio.to_thread(rabbitmq.stop)
        await asyncio.to_thread(rabbitmq.start)

    result = await stack.survives(restart, refusals=10, after=2)
    assert not result.violations
    assert result.unanswered == 0


async def test_a_killed_rabbitmq_loses_nothing(stack, rabbitmq):
    async def kill(*_):
        await asyncio.to_thread(rabbitmq.save_queues)
        await asyncio.to_thread(rabbitmq.kill)
        await asyncio.to_thread(rabbitmq.start)

    result = await stack.survives(kill, refusals=10, after=2)
    assert not result.violations
    assert result.unanswered == 0


async def test_a_crash_of_postgresql_loses_nothing(stack, postgres):
    async def crash(stack, _):
        for _ in range(2):
            await asyncio.sleep(stack.rng.uniform(0.2, 0.8))
            await asyncio.to_thread(postgres.crash)
            await asyncio.to_thread(postgres.start)

    result = await stack.survives(crash, refusals=10, after=1)
    assert not result.violations
    assert result.unanswered == 0
