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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WORKERS_FIRST = ("recorder", "deliverer", "scheduler", "gateway", "other-gateway")
GATEWAYS_FIRST = tuple(reversed(WORKERS_FIRST))


def migrate(url: str) -> Fault:
    """Return what brings the schema up to date."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        assert await run(COMMAND, url) == 0
        yield

    return Fault(name="migrate", inflict=inflict)


def upgrade(url: str, *names: str) -> Fault:
    """Return what stops the workers of those *names*, brings the schema up to date, and starts this version's."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        workers = [stack.processes[name] for name in names]
        for worker in workers:
            assert await worker.stop() == 0
        assert await run(COMMAND, url) == 0
        for worker in workers:
            await worker.launch(command=COMMAND)
            await worker.await_start()
        yield

    return Fault(name="upgrade workers", inflict=inflict)


async def run(command, url):
    """Return the exit status of ``migrate``."""
    environment = os.environ | {"SIGNAL_BROKER_STORE_URL": url}
    process = await asyncio.create_subprocess_exec(*command, "migrate", env=environment)
    return await process.wait()


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    """The ``signal-broker`` of the version before."""
    return previous_release(tmp_path_factory.mktemp("previous"))


@asynccontextmanager
async def running(previous, postgres_url, rabbitmq_url, directory):
    """Run the *previous* version, on a schema of its own; yield its stack and the URL of its database."""
    async with unmigrated(postgres_url) as database:
        assert await run(previous, database.url) == 0
        assert await revision(database) < NEEDED
        environment = {"STORE_URL": database.url, "TRANSPORT_URL": rabbitmq_url}
        servers = Servers(vhost=rabbitmq_url)
        async with stack_of(ROLES, environment, directory, make_rng(), servers=servers, command=previous) as stack:
            yield stack, database.url


@pytest.mark.parametrize(
    "order", [(WORKERS_FIRST, GATEWAYS_FIRST), (GATEWAYS_FIRST, ())], ids=["workers-first", "gateways-first"]
)
async def test_an_upgrade_and_the_way_back_refuse_nobody_and_lose_nothing(
    previous, order, postgres_url, rabbitmq_url, tmp_path
):
    there, back = order
    async with running(previous, postgres_url, rabbitmq_url, tmp_path) as (stack, url):
        outcome = await survive(
            stack,
            migrate(url),
            *(exchange(name, "new", COMMAND) for name in there),
            *(exchange(name, "old", previous) for name in back),
            refusals=20,
        )
    print(outcome)
    assert not outcome.violations
    assert not outcome.books.failed


async def test_from_0_1_0_workers_are_stopped_for_the_migration_and_nothing_is_refused_or_lost(
    monkeypatch, postgres_url, rabbitmq_url, tmp_path
):
    monkeypatch.setattr("tests.support.product.check_moments", lambda _: None)  # it wrote them otherwise
    first = previous_release(tmp_path / "first", before="0011")
    async with running(first, postgres_url, rabbitmq_url, tmp_path) as (stack, url):
        outcome = await survive(
            stack,
            upgrade(url, "recorder", "deliverer", "scheduler"),
            exchange("gateway", "new", COMMAND),
            exchange("other-gateway", "new", COMMAND),
            refusals=20,
        )
    print(outcome)
    assert not outcome.violations
    assert not outcome.books.failed
