"""The whole product in one process with the embedded default, killed under load and started again."""

from __future__ import annotations

import signal

from tests.chaos.postgres import end_server
from tests.chaos.stack import make_rng, stack_of
from tests.support.receiver import receiver


async def test_killed_twice_it_loses_nothing_that_was_accepted(tmp_path):
    """The second time its PostgreSQL is killed, too, as by a power cut."""

    async def kill_twice(stack, load):
        await stack.kill("run")
        process = stack.processes["run"]
        process.kill()
        await process.process.wait()
        end_server(tmp_path / "data", signal.SIGKILL)
        await process.start()

    environment = {"DATA_DIR": str(tmp_path / "data")}
    async with receiver() as webhooks, stack_of({"run": ["run"]}, environment, tmp_path, webhooks, make_rng()) as stack:
        result = await stack.survives(kill_twice)
    assert not result.violations
    assert result.accepted
