"""The whole product in one process with the embedded default, killed under load and started again."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.chaos.experiment import survive
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.processes import kill
from tests.chaos.postgres import end_server
from tests.chaos.stack import make_rng, stack_of


async def test_killed_it_loses_nothing_that_was_accepted(tmp_path):
    """The second time its PostgreSQL is killed with it, as by a power cut."""
    data_dir = tmp_path / "data"

    @asynccontextmanager
    async def cut_power(stack) -> AsyncIterator[None]:
        process = stack.processes["run"]
        process.kill()
        await process.process.wait()
        end_server(data_dir / "postgres", signal.SIGKILL)
        yield
        await process.start()

    async with stack_of({"run": ["run"]}, {"DATA_DIR": str(data_dir)}, tmp_path, make_rng()) as stack:
        outcome = await survive(stack, kill("run"), Fault(name="power cut", inflict=cut_power))
        assert await stack.processes["run"].stop() == 0
    assert not outcome.violations
    assert outcome.books.accepted
    assert not (data_dir / "postgres" / "postmaster.pid").exists(), "its PostgreSQL outlives it"
