"""A running product that PostgreSQL refuses, for any reason, answers "not now", and goes on once it may."""

from __future__ import annotations

import asyncio

import pytest

from broker.messages import signal_message
from broker.store.postgres.database import Database
from broker.topology import RECORD, TOPOLOGY, dead_letters
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport
from tests.support.builders import accept
from tests.support.eventually import eventually
from tests.support.messaging import SOON
from tests.support.product import Process, client_of
from tests.support.roles import LOCKOUTS, role_of
from tests.support.throwing import delivery, recorded, subscribe, throw
from tests.support.waiting import logged

pytestmark = pytest.mark.slow


async def test_whatever_postgresql_refuses_nothing_ends_and_nothing_is_lost(
    database_url, postgres_url, tmp_path, webhooks, name
):
    async with role_of(database_url, postgres_url) as role:
        environment = {"STORE_URL": role.url(), "DATA_DIR": str(tmp_path)}
        async with Process("run", environment=environment, log=tmp_path / "log") as process:
            async with client_of(process.url) as client:
                subscription = await subscribe(client, name, webhooks.url("/hook"))
                for lockout in LOCKOUTS.values():
                    signal = await throw(client, name)
                    async with lockout(role):
                        await refuses(client, name)
                    await recorded(client, signal["id"])
                    await delivery(client, signal, subscription, "delivered")
            assert await process.stop() == 0
    assert "request.failed" not in process.log.read_text()


async def refuses(client, name):
    """Wait until the gateway is not ready; it may accept throws until then, and answers 503 to others."""

    async def is_not_ready():
        status, _, body = await client.request("GET", "/readyz")
        assert status in {200, 503}, body
        return status == 503

    async def throw_is_refused():
        status, headers, body = await client.request("POST", "/v1/signals", json={"name": name})
        assert status in {202, 503}, body
        return status == 503 and headers["Retry-After"] == "1"

    await eventually(is_not_ready)
    await eventually(throw_is_refused)
    assert (await client.request("GET", "/v1/ledger"))[0] in {200, 503}
    assert (await client.caller("sb_unknown").request("GET", "/v1/ledger"))[0] in {401, 503}
    assert (await client.request("GET", "/livez"))[0] == 200


async def test_a_recorder_with_a_wrong_password_waits_and_kills_no_signal(
    database, postgres_url, rabbitmq_url, tmp_path
):
    async with role_of(database.url, postgres_url) as role, RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        for signal in await accept(database, *["a"] * 300):
            await transport.publish(signal_message(signal), exchange="", routing_key=RECORD, timeout=SOON)
        environment = {"STORE_URL": role.url("wrong"), "TRANSPORT_URL": rabbitmq_url, "DATA_DIR": str(tmp_path)}
        recorder = Process("worker", "recorder", environment=environment, log=tmp_path / "log")
        await recorder.launch()
        await logged(recorder.log, lambda lines: any("InvalidPassword" in line.get("error", "") for line in lines))
        assert await transport.depth(RECORD, timeout=SOON) == 300
        await role.server.execute(f"ALTER ROLE {role.name} PASSWORD 'wrong'")
        await recorder.await_start()
        await eventually(lambda: database.fetchval("SELECT count(*) = 300 FROM signals"))
        assert await transport.depth(dead_letters(RECORD), timeout=SOON) == 0
        assert await recorder.stop() == 0


async def test_a_schema_that_changes_under_load_costs_no_signal(database, tmp_path, webhooks, name):
    """Each change makes the plans invalid that every process has cached.

    What has begun when that happens is rescued once its webhook cannot be under way any more.
    """
    timeouts = {"RESCUE_AFTER_SECONDS": "2", "WEBHOOK_TIMEOUT_SECONDS": "2", "STORE_TIMEOUT_SECONDS": "2"}
    environment = {"STORE_URL": database.url, "DATA_DIR": str(tmp_path), **timeouts}
    async with Process("run", environment=environment, log=tmp_path / "log") as process:
        async with client_of(process.url) as client:
            await subscribe(client, name, webhooks.url("/hook"))
            accepted = 0

            async def throw_many():
                nonlocal accepted
                for _ in range(60):
                    status, _, body = await client.request("POST", "/v1/signals", json={"name": name})
                    assert status in {202, 503}, body
                    accepted += status == 202

            async def has_accepted(count):
                await eventually(lambda: accepted >= count)

            throwing = asyncio.gather(*(throw_many() for _ in range(5)))
            for number in range(10):
                await has_accepted(20 * number)
                for table in ("signals", "subscriptions", "deliveries", "matches", "attempts"):
                    await database.execute(f"ALTER TABLE {table} ADD COLUMN newer_{number} integer")
            await throwing
            assert accepted > 200

            async def is_settled():
                ledger = await client.get("/v1/ledger")
                return ledger["recorded"] >= accepted and ledger["deliveries"]["delivered"] == ledger["matched"]

            await eventually(is_settled, within=90)
        assert await process.stop() == 0
    async with Database(database.url) as own, EmbeddedTransport(own) as transport:
        assert await transport.depth(dead_letters(RECORD), timeout=SOON) == 0
