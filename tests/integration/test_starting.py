"""A process serves its probes at once, and waits for PostgreSQL, the schema and RabbitMQ for as long as that takes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request

from broker.health import Health
from broker.messages import signal_message
from broker.store.postgres.database import Database
from broker.store.postgres.migrate import migrate
from broker.store.postgres.schema import NEEDED
from broker.topology import RECORD, TOPOLOGY, dead_letters
from broker.transport.rabbitmq import RabbitTransport
from tests.support import commands
from tests.support.builders import signal
from tests.support.described import Described
from tests.support.eventually import eventually
from tests.support.messaging import SOON, fresh, holds
from tests.support.ports import free_ports
from tests.support.postgres import run_scripts, unmigrated
from tests.support.product import Process, client_of
from tests.support.proxy import proxy
from tests.support.rabbitmq_users import permit, user
from tests.support.throwing import recorded, throw
from tests.support.waiting import logged

pytestmark = pytest.mark.slow

NOWHERE = {"STORE_URL": "postgresql://nobody@127.0.0.1:1/none", "TRANSPORT_URL": "amqp://127.0.0.1:1/"}
HANDLERS = """
from workers.handlers import Handlers

handlers = Handlers("shop")


@handlers.on("a")
def handle(payload): ...
"""


@asynccontextmanager
async def launched(*command, directory, **environment):
    """Launch a process; yield (process, client) once it serves."""
    (port,) = free_ports(1)
    environment = {"DATA_DIR": str(directory), "STORE_TIMEOUT_SECONDS": "1", "HTTP_PORT": str(port), **environment}
    process = Process(*command, environment=environment, log=directory / "log")
    await process.launch()
    try:
        async with client_of(f"http://127.0.0.1:{port}") as client:
            await eventually(lambda: answers(client, "/livez", 200))
            yield process, client
    finally:
        process.kill()
        await process.process.wait()


async def answers(client, path, wanted):
    with suppress(aiohttp.ClientError):
        status, _, _ = await client.request("GET", path)
        return status == wanted
    return False


async def logs(process, *events):
    """Wait until the process has logged each of *events*."""
    await logged(process.log, lambda lines: set(events) <= {line["event"] for line in lines})


def recorder_has_stopped(lines):
    return any((line["event"], line.get("queue")) == ("consumer.stopped", RECORD) for line in lines)


async def stops_at_once(process):
    begun = time.monotonic()
    assert await process.stop() == 0
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("role", ["gateway", "recorder", "deliverer", "scheduler", "handlers"])
async def test_without_any_server_it_lives_is_not_ready_and_can_be_stopped(role, tmp_path):
    (tmp_path / "shop.py").write_text(HANDLERS)
    app = ["--app", f"{tmp_path}/shop.py:handlers"] if role == "handlers" else []
    command = ["gateway"] if role == "gateway" else ["worker", role, *app]
    async with launched(*command, directory=tmp_path, **NOWHERE) as (process, client):
        assert (await client.request("GET", "/readyz"))[0] == 503
        assert (await client.request("GET", "/metrics"))[0] == 200
        if role == "gateway":
            status, headers, _ = await client.request("POST", "/v1/signals", json={"name": "a"})
            assert (status, headers["Retry-After"]) == (503, "1")
        await logs(process, "link.refused", "start.postponed")
        assert process.announced is None
        await stops_at_once(process)


async def test_once_both_servers_are_there_it_works(database_url, rabbitmq_url, tmp_path, name):
    async with proxy(database_url) as store, proxy(rabbitmq_url) as transport:
        store.cut()
        transport.cut()
        urls = {"STORE_URL": store.url, "TRANSPORT_URL": transport.url, "CONFIRM_TIMEOUT_SECONDS": "2"}
        async with launched("run", directory=tmp_path, **urls) as (process, client):
            assert await answers(client, "/readyz", 503)
            transport.restore()
            await logs(process, "link.connected")
            assert process.announced is None
            store.restore()
            await process.await_start()
            assert await answers(client, "/readyz", 200)
            await recorded(client, (await throw(client, name))["id"])

            transport.cut()
            await eventually(lambda: answers(client, "/readyz", 503))
            assert await answers(client, "/livez", 200)
            ledger = await client.get("/v1/ledger")
            assert (ledger["awaitingRecord"], ledger["poison"]) == (None, None)
            assert ledger["transportError"] == "The transport did not answer in time; the gateway's log has the reason."
            transport.restore()
            await eventually(lambda: answers(client, "/readyz", 200))
            await recorded(client, (await throw(client, name))["id"])
            await stops_at_once(process)


async def test_a_gateway_stays_in_service_without_what_only_throws_need(database_url, rabbitmq_url, tmp_path):
    """Its 503 has a `Retry-After`, and people still look, and revoke tokens; a load balancer's would be for all."""
    async with proxy(database_url) as store, proxy(rabbitmq_url) as transport:
        urls = {"STORE_URL": store.url, "TRANSPORT_URL": transport.url, "CONFIRM_TIMEOUT_SECONDS": "2"}
        async with launched("gateway", directory=tmp_path, **urls) as (process, client):

            async def misses(*names):
                status, headers, body = await client.request("GET", "/readyz")
                assert (status, body["ready"]) == (200, True)
                described.check("GET", "/readyz", status, headers, body)
                missing = headers.get("X-Signal-Broker-Missing", "")
                assert missing == ", ".join(name for name, passed in body["checks"].items() if not passed)
                return {*names} <= {*missing.split(", ")} if names else not missing

            await process.await_start()
            described = Described(await client.get("/openapi.json"))
            await eventually(misses)
            token = await client.post("/v1/tokens", {"name": "t", "permissions": ["signals:throw"]})

            transport.cut()
            await eventually(lambda: misses("transport", "intake"))
            status, headers, _ = await client.request("POST", "/v1/signals", json={"name": "a"})
            assert (status, headers["Retry-After"]) == (503, "1")
            assert (await client.get("/v1/signals"))["items"] == []
            assert (await client.request("DELETE", f"/v1/tokens/{token['id']}"))[0] == 204
            transport.restore()
            await eventually(misses)

            store.cut()
            await eventually(lambda: misses("store"))
            status, headers, _ = await client.request("GET", "/v1/signals")
            assert (status, headers["Retry-After"]) == (503, "1")
            store.restore()
            await eventually(misses)
            await client.post("/v1/signals", {"name": "a"}, expect=202)
            await stops_at_once(process)


async def test_without_a_topology_or_the_right_to_create_it_every_role_waits_for_an_administrator(
    database_url, rabbitmq, rabbitmq_url, tmp_path, name
):
    """The administrator needs no PostgreSQL."""
    async with user(rabbitmq, rabbitmq_url, "gateway") as url:
        await permit(rabbitmq, url, "^$", ".*", ".*")
        urls = {"STORE_URL": database_url, "TRANSPORT_URL": url}
        async with launched("run", directory=tmp_path, **urls) as (process, client):
            await logged(process.log, lambda lines: any("ACCESS_REFUSED" in line.get("error", "") for line in lines))
            assert await answers(client, "/livez", 200)
            assert await answers(client, "/readyz", 503)
            settings = {**NOWHERE, "TRANSPORT_URL": rabbitmq_url, "DATA_DIR": str(tmp_path)}
            environment = {"PATH": os.environ["PATH"]} | {
                f"SIGNAL_BROKER_{key}": value for key, value in settings.items()
            }
            done = await asyncio.to_thread(commands.run, "topology", "--apply", environment=environment)
            assert (done.returncode, done.stderr.partition(" (")[0]) == (0, "whether queues are split is not known")
            await process.await_start()
            await recorded(client, (await throw(client, name))["id"])
            assert await process.stop() == 0


@pytest.mark.parametrize("command", [["run"], ["gateway"], ["worker", "recorder"]])
async def test_a_wrong_setting_ends_the_start_with_one_line(command, database_url, rabbitmq_url, tmp_path):
    environment = {"STORE_URL": database_url + "&target_session_attrs=nonsense", "TRANSPORT_URL": rabbitmq_url}
    process = Process(*command, environment={**environment, "DATA_DIR": str(tmp_path)}, log=tmp_path / "log")
    await process.launch()
    assert await process.process.wait() == 1
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert "Error: SIGNAL_BROKER_STORE_URL: `target_session_attrs` is 'nonsense'" in last


@pytest.mark.parametrize("setting", ["HTTP_PORT", "METRICS_PORT"])
async def test_a_port_that_is_taken_ends_the_start_with_one_line_that_names_the_setting(
    setting, database_url, tmp_path
):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path), setting: str(port)}
        process = Process("run", environment=environment, log=tmp_path / "log")
        await process.launch()
        assert await process.process.wait() == 1
    line = (tmp_path / "log").read_text().splitlines()[-1]
    assert line.startswith(f"Error: SIGNAL_BROKER_HTTP_HOST and SIGNAL_BROKER_{setting} cannot be served: ")
    assert str(port) in line
    assert line.endswith("address already in use")


async def test_a_process_without_an_address_listens_on_every_one_of_ipv4_and_ipv6(database_url, tmp_path):
    api, metrics = free_ports(2)
    listening = {"HTTP_HOST": "", "HTTP_PORT": str(api), "METRICS_PORT": str(metrics)}
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path), **listening}
    async with Process("run", environment=environment, log=tmp_path / "log"), aiohttp.ClientSession() as session:
        for place in (
            f"{host}:{at}" for host in ("127.0.0.1", "[::1]") for at in (f"{api}/livez", f"{metrics}/metrics")
        ):
            async with session.get(f"http://{place}") as answer:
                assert answer.status == 200


@pytest.mark.parametrize("step", ["", "0007"])
async def test_a_recorder_takes_nothing_before_the_schema_is_there(step, postgres_url, rabbitmq_url, tmp_path):
    async with unmigrated(postgres_url) as database, RabbitTransport(rabbitmq_url) as transport:
        await run_scripts(database, to=step)
        await transport.declare(TOPOLOGY)
        for number in range(1, 11):
            message = signal_message(signal(number))
            await transport.publish(message, exchange="", routing_key=RECORD, timeout=SOON)
        urls = {"STORE_URL": database.url, "TRANSPORT_URL": rabbitmq_url}
        async with launched("worker", "recorder", "scheduler", directory=tmp_path, **urls) as (process, client):
            await logs(process, "schema.outdated")
            assert await answers(client, "/readyz", 503)
            await holds(transport, RECORD, 10)
            if step:
                await database.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
                await database.execute("INSERT INTO alembic_version VALUES ($1)", step)
            await migrate(database.url)
            await database.execute("SELECT setval('signal_ids', 10)")
            await process.await_start()
            await eventually(lambda: database.fetchval("SELECT count(*) = 10 FROM signals"))
            assert await transport.depth(dead_letters(RECORD), timeout=SOON) == 0
            assert await process.stop() == 0


async def test_a_gateway_that_waits_for_the_schema_says_that_and_complains_of_nothing_else(postgres_url, tmp_path):
    async with unmigrated(postgres_url) as database:
        urls = {"STORE_URL": database.url, "TRANSPORT_URL": "embedded:"}
        async with launched("gateway", directory=tmp_path, **urls) as (process, client):
            await logs(process, "schema.outdated")
            assert await answers(client, "/readyz", 503)
            assert process.announced is None
            problem = await client.post("/v1/signals", {"name": "a"}, expect=503)
            assert "PostgreSQL lacks a table (`signal-broker migrate` creates it)" in problem["detail"]
            await migrate(database.url)
            await process.await_start()
            assert await process.stop() == 0
        lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
        assert {line["event"] for line in lines if line["level"] == "warning"} <= {
            *("schema.outdated", "start.postponed", "request.postponed")
        }


@pytest.mark.parametrize("transport", ["embedded", "rabbitmq"])
async def test_workers_wait_while_a_step_is_missing_and_then_go_on(transport, database_url, request, tmp_path, name):
    urls = {"STORE_URL": database_url}
    if transport == "rabbitmq":
        urls["TRANSPORT_URL"] = request.getfixturevalue("rabbitmq_url")
    async with launched("run", directory=tmp_path, **urls) as (process, client), Database(database_url) as database:
        await process.await_start()
        await database.execute("DELETE FROM schema_steps WHERE step = $1", NEEDED)
        await logged(process.log, recorder_has_stopped)
        signal_id = (await throw(client, name))["id"]
        assert await database.fetchval("SELECT count(*) FROM signals") == 0
        await database.execute("INSERT INTO schema_steps (step) VALUES ($1)", NEEDED)
        await recorded(client, signal_id)
        assert await process.stop() == 0


class TestLiveness:
    """It asks whether a restart would help."""

    async def lives(self, health):
        return (await health.livez(make_mocked_request("GET", "/livez"))).status == 200

    async def test_with_a_link_and_without_a_consumer_it_is_dead_after_a_while(self, database, rabbitmq_url):
        async with RabbitTransport(rabbitmq_url) as transport, transport.consume(fresh(), prefetch=1):
            health = Health(database, transport, grace=timedelta(seconds=0.2))
            assert await self.lives(health)
            await eventually(lambda: transport.linked)

            async def dies():
                return not await self.lives(health)

            await eventually(dies)

    async def test_without_a_link_it_lives_on(self, database):
        async with RabbitTransport("amqp://127.0.0.1:1/") as transport, transport.consume(fresh(), prefetch=1):
            health = Health(database, transport, grace=timedelta(0))
            assert not transport.consuming
            for _ in range(3):
                assert await self.lives(health)


@pytest.mark.parametrize("command", [("gateway",), ("worker",), ("worker", "scheduler"), ("migrate",), ("throw", "a")])
async def test_a_process_whose_store_is_not_named_has_none_of_its_own_beside_rabbitmq(command, tmp_path):
    environment = {"TRANSPORT_URL": "amqp://127.0.0.1:1/", "DATA_DIR": str(tmp_path / "data")}
    process = Process(*command, environment=environment, log=tmp_path / "log")
    await process.launch()
    assert await process.process.wait() == 1
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith("Error: SIGNAL_BROKER_STORE_URL: must be set beside")
    assert not (tmp_path / "data" / "postgres").exists()
