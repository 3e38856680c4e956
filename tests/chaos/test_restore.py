"""The runbook's restore to an earlier moment: PostgreSQL knows less than RabbitMQ, and nothing gets a number twice."""

from __future__ import annotations

import re
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from broker.store.postgres.database import Database
from broker.store.postgres.migrate import migrate
from tests.chaos.stack import ROLES, SETTINGS
from tests.support.eventually import eventually
from tests.support.postgres import on_database
from tests.support.product import Client, Process, client_of
from tests.support.receiver import receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUNBOOK = Path(__file__).parents[2] / "deploy" / "runbook.md"


def statement():
    """Return what the runbook tells to execute after a restore."""
    [found] = re.findall(r"SELECT setval\('signal_ids'.+?;", RUNBOOK.read_text("utf-8"), re.DOTALL)
    return found


async def throw(client: Client, times):
    return [(await client.post("/v1/signals", {"name": "placed", "payload": number}))["id"] for number in range(times)]


async def test_after_a_restore_what_rabbitmq_still_holds_is_recorded_and_no_number_is_given_out_again(
    postgres_url, rabbitmq_url, tmp_path
):
    @asynccontextmanager
    async def running(name, *roles):
        environment = SETTINGS | {"STORE_URL": on_database(postgres_url, name), "TRANSPORT_URL": rabbitmq_url}
        processes = [Process(*ROLES[role], environment=environment, log=tmp_path / f"{role}.log") for role in roles]
        async with AsyncExitStack() as stack:
            for process in processes:
                await stack.enter_async_context(process)
            yield await stack.enter_async_context(client_of(processes[0].url))
            for process in processes:
                await process.stop()

    async with receiver() as webhooks, databases(postgres_url) as (live, backup):
        async with running(live, *ROLES) as client:
            target = {"kind": "webhook", "url": webhooks.url("/")}
            await client.post("/v1/subscriptions", {"name": "#", "target": target})
            kept = await throw(client, 20)
            await eventually(lambda: len(webhooks.requests) == 20)
        async with Database(postgres_url, size=1) as server:
            await server.execute(f"CREATE DATABASE {backup} TEMPLATE {live}")
        async with running(live, *ROLES) as client:
            forgotten = await throw(client, 20)
            await eventually(lambda: len(webhooks.requests) == 40)
        async with running(live, "gateway") as client:
            ahead = await throw(client, 10)

        async with Database(on_database(postgres_url, backup)) as restored:
            await restored.execute(statement())
        async with running(backup, *ROLES) as client:
            new = await throw(client, 5)
            await eventually(lambda: len(webhooks.requests) == 55)
            ledger = await eventually(lambda: books(client))

    assert len({*kept, *forgotten, *ahead, *new}) == 55
    assert min(new) > max(ahead)
    assert ledger["recorded"] == 35
    assert ledger["lost"] == 0


async def books(client):
    """Return the ledger once nothing is on its way."""
    ledger = await client.get("/v1/ledger")
    return ledger if ledger["awaitingRecord"] == ledger["unaccounted"] == 0 else None


@asynccontextmanager
async def databases(server_url):
    """Yield the names of two databases: a migrated one, and one that is not there yet."""
    live = f"test_{uuid.uuid4().hex}"
    backup = f"{live}_backup"
    async with Database(server_url, size=1) as server:
        await server.execute(f"CREATE DATABASE {live}")
        try:
            await migrate(on_database(server_url, live))
            yield live, backup
        finally:
            for name in (live, backup):
                await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
