"""The whole product in one process with the embedded default, killed under load and started again."""

from __future__ import annotations

import signal

from tests.chaos.faults import kill, one_after_another
from tests.chaos.postgres import end_server
from tests.chaos.stack import make_rng, stack_of
from tests.support.receiver import receiver


async def test_killed_it_loses_nothing_that_was_accepted(tmp_path):
    """The second time its PostgreSQL is killed with it, as by a power cut."""
    data_dir = tmp_path / "data"

    async def cut_power(stack, _):
        await stack.pause()
        process = stack.processes["run"]
        process.kill()
        await process.process.wait()
        end_server(data_dir, signal.SIGKILL)
        await process.start()

    environment = {"DATA_DIR": str(data_dir)}
    async with receiver() as webhooks, stack_of({"run": ["run"]}, environment, tmp_path, webhooks, make_rng()) as stack:
        result = await stack.survives(one_after_another(kill("run"), cut_power))
        assert await stack.processes["run"].stop() == 0
    assert not result.violations
    assert result.accepted
    assert not (data_dir / "postgres" / "postmaster.pid").exists(), "its PostgreSQL outlives it"
