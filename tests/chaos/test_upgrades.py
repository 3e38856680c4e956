"""Upgrades under load: the version before this one and this one run side by side, and either way back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from broker.store.postgres.schema import NEEDED, revision
from tests.chaos.experiment import survive
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.processes import exchange
from tests.chaos.stack import ROLES, Servers, Stack, make_rng, stack_of
from tests.support.postgres import unmigrated
from tests.support.product import COMMAND
from tests.support.releases import previous_release

pytestmark = pytest.mark.timeout(300)

WORKERS_FIRST = ("recorder", "deliverer", "scheduler", "gateway", "other-gateway")
GATEWAYS_FIRST = tuple(reversed(WORKERS_FIRST))


def migrate(url: str) -> Fault:
    """Return what brings the schema up to date."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        assert await run(COMMAND, url) == 0
        yield

    return Fault(name="migrate", inflict=inflict)


async def run(command, url):
    """Return the exit status of ``migrate``."""
    environment = os.environ | {"SIGNAL_BROKER_STORE_URL": url}
    process = await asyncio.create_subprocess_exec(*command, "migrate", env=environment)
    return await process.wait()


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    """The ``signal-broker`` of the version before."""
    return previous_release(tmp_path_factory.mktemp("previous"))


@pytest.mark.parametrize(
    "order", [(WORKERS_FIRST, GATEWAYS_FIRST), (GATEWAYS_FIRST, ())], ids=["workers-first", "gateways-first"]
)
async def test_an_upgrade_and_the_way_back_refuse_nobody_and_lose_nothing(
    previous, order, postgres_url, rabbitmq_url, tmp_path
):
    there, back = order
    async with unmigrated(postgres_url) as database:
        assert await run(previous, database.url) == 0
        assert await revision(database) < NEEDED
        environment = {"STORE_URL": database.url, "TRANSPORT_URL": rabbitmq_url}
        servers = Servers(vhost=rabbitmq_url)
        async with stack_of(ROLES, environment, tmp_path, make_rng(), servers=servers, command=previous) as stack:
            outcome = await survive(
                stack,
                migrate(database.url),
                *(exchange(name, "new", COMMAND) for name in there),
                *(exchange(name, "old", previous) for name in back),
                refusals=20,
            )
    print(outcome)
    assert not outcome.violations
    assert not outcome.books.failed
