"""One running product per transport for all tests of what it answers; names, not processes, keep tests apart.

A test that asks for `product` (or `client`, which is a client of it) gets the one on the embedded transport. What may
come out differently on another transport says so with the marker `transports`:

    @pytest.mark.transports("embedded", "rabbitmq")
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.settings import Settings
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import TOPOLOGY
from broker.transport import Transport
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport
from tests.support import typescript_client as typescript
from tests.support.attempts import attempt_store
from tests.support.browser import opened_window
from tests.support.builders import QUEUE
from tests.support.eventually import eventually
from tests.support.history import History
from tests.support.leasing import Puller
from tests.support.postgres import fresh_database
from tests.support.product import ADMIN_TOKEN, Process, client_of
from tests.support.rabbitmq_servers import Rabbit
from tests.support.receiver import receiver
from tests.support.remote import Laptop
from tests.support.traces import traced_product
from tests.support.transports import embedded_server, rabbitmq_transport_server
from workers.partition_maintainer import PartitionMaintainer


@dataclass(frozen=True)
class Product:
    """A running ``signal-broker run`` on a transport."""

    transport: str
    url: str
    log: Path
    environment: dict[str, str]
    open_transport: Callable[[], AbstractAsyncContextManager[Transport]]

    def sibling(self, *arguments: str, **environment: str) -> Process:
        """Return a further process on the same store and transport, not yet started."""
        log = self.log.with_name(f"{uuid.uuid4().hex}.log")
        return Process(*arguments, environment={**self.environment, **environment}, log=log)


def pytest_generate_tests(metafunc):
    if "product" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("transports")
        metafunc.parametrize("product", marker.args if marker else ["embedded"], indirect=True)


@pytest.fixture
def product(request) -> Product:
    """Return the running product on the transport that the test is for."""
    return request.getfixturevalue(f"{request.param}_product")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded_product(store_server, tmp_path_factory) -> AsyncIterator[Product]:
    async with fresh_database(store_server) as store_url:
        directory = tmp_path_factory.mktemp("product")
        async with running("embedded", store_url, directory, embedded_transport(store_url)) as product:
            yield product


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rabbitmq_product(store_server, product_vhost, tmp_path_factory) -> AsyncIterator[Product]:
    async with fresh_database(store_server) as store_url:
        directory, open_transport = tmp_path_factory.mktemp("product"), partial(RabbitTransport, product_vhost)
        async with running("rabbitmq", store_url, directory, open_transport, TRANSPORT_URL=product_vhost) as product:
            yield product


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_product(store_server, tmp_path_factory) -> AsyncIterator[Product]:
    """The embedded product, for the tests of one file that would mind what others left, or leave what others mind.

    It believes who calls it about where they are.
    """
    async with fresh_database(store_server) as store_url:
        directory, trusted = tmp_path_factory.mktemp("product"), {"TRUSTED_PROXIES": "127.0.0.0/8, ::1/128"}
        async with running("embedded", store_url, directory, embedded_transport(store_url), **trusted) as product:
            yield product


@asynccontextmanager
async def running(
    transport: str,
    store_url: str,
    directory: Path,
    open_transport: Callable[[], AbstractAsyncContextManager[Transport]],
    **settings: str,
) -> AsyncIterator[Product]:
    """Run the product until the context is left, and then see that it ends well."""
    environment = {
        "STORE_URL": store_url,
        "DATA_DIR": str(directory),
        "BODY_TIMEOUT_SECONDS": "1",
        "SIGNAL_ENDPOINTS_LIMIT": "1000",
        **settings,
    }
    log = directory / "log"
    async with Process("run", environment=environment, log=log) as process:
        yield Product(transport, process.url, log, environment, open_transport)
        assert await process.stop() == 0


def embedded_transport(store_url: str) -> Callable[[], AbstractAsyncContextManager[Transport]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Transport]:
        async with Database(store_url) as database, EmbeddedTransport(database) as transport:
            yield transport

    return opened


@pytest.fixture(scope="session")
def product_vhost(rabbitmq):
    """Return the URL of the vhost that the product on RabbitMQ has to itself."""
    with rabbitmq.vhost() as url:
        yield url


@pytest.fixture
def second_url(request, product) -> str:
    """Return the URL of a second gateway beside the product."""
    return request.getfixturevalue(f"{product.transport}_second_url")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded_second_url(embedded_product) -> AsyncIterator[str]:
    async with embedded_product.sibling("gateway") as process:
        yield process.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rabbitmq_second_url(rabbitmq_product) -> AsyncIterator[str]:
    async with rabbitmq_product.sibling("gateway") as process:
        yield process.url


@pytest.fixture(scope="module")
def management(rabbitmq: Rabbit) -> Iterator[str]:
    """The URL of RabbitMQ's management API, which is on while a module's tests run."""
    with rabbitmq.management() as url:
        yield url


@pytest.fixture
def traced(monkeypatch, database_url, tmp_path) -> Callable[..., AbstractAsyncContextManager[Process]]:
    """Return what runs a product of this test's own that exports its traces; see `traced_product`."""
    return partial(traced_product, monkeypatch, database_url, tmp_path)


@pytest.fixture
async def client(product):
    """Return a client that may do everything, once the product is ready: a test before may have cut its links."""
    async with client_of(product.url) as client:

        async def is_ready():
            return (await client.request("GET", "/readyz"))[0] == 200

        await eventually(is_ready)
        yield client


@pytest.fixture
async def window(product, client):
    """Return a browser in which tabs show the product; the test fails if one of them complains of something."""
    async with opened_window(client.url) as window:
        yield window


@pytest.fixture
async def tab(window):
    """Return a tab of 1280 x 800 in light colours."""
    return await window.tab()


@pytest.fixture
async def webhooks():
    """Return a webhook receiver."""
    async with receiver() as webhooks:
        yield webhooks


@pytest.fixture
def name():
    """Return a signal name that no other test uses."""
    return f"test.{uuid.uuid4().hex}"


@pytest.fixture
def laptop(product, tmp_path):
    """Return the laptop of an administrator of the product."""
    return Laptop(tmp_path, URL=product.url, TOKEN=ADMIN_TOKEN)


@pytest.fixture
def stranger(tmp_path):
    """Return a laptop that knows no product."""
    return Laptop(tmp_path)


@pytest.fixture
def history(database):
    """Return the history of this test's own database."""
    return History(database)


@pytest.fixture
async def subscription(database):
    """Return a subscription to signals named `a`."""
    return await SubscriptionStore(database).create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)


@pytest.fixture(params=["embedded", "rabbitmq"])
async def transport(request, database):
    """Return each transport in turn, with the topology; the embedded one is in this test's own database."""
    server = (
        embedded_server(database)
        if request.param == "embedded"
        else rabbitmq_transport_server(request.getfixturevalue("rabbitmq"), request.getfixturevalue("rabbitmq_url"))
    )
    async with server.open() as transport:
        await transport.declare(TOPOLOGY)
        yield transport


@pytest.fixture
async def embedded(database):
    """Return the embedded transport in this test's own database."""
    async with EmbeddedTransport(database) as transport:
        await transport.declare(TOPOLOGY)
        yield transport


@pytest.fixture
def retention(database, embedded):
    """Call it for the worker with some settings."""
    return lambda **settings: PartitionMaintainer(database, embedded, Settings(**settings))


@pytest.fixture
def signals(database):
    """Return the signals of this test's own database."""
    return SignalStore(database)


@pytest.fixture
def subscriptions(database):
    """Return the subscriptions of this test's own database."""
    return SubscriptionStore(database)


@pytest.fixture
def attempts(database):
    return attempt_store(database)


@pytest.fixture
def deliveries(database):
    """Return the deliveries of this test's own database."""
    return DeliveryStore(database)


@pytest.fixture
def pausing(database):
    """Return where subscriptions of this test's own database are paused, and waiting deliveries go on."""
    return PausingStore(database)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def typescript_client(embedded_product, tmp_path_factory) -> Path:
    """Return the directory in which the TypeScript client was built, with a clean `project` that has it installed."""
    directory = tmp_path_factory.mktemp("typescript")
    async with client_of(embedded_product.url) as client:
        openapi = await client.get("/openapi.json")
    package = await asyncio.to_thread(typescript.build, directory, openapi)
    await asyncio.to_thread(typescript.project, directory / "project", package)
    return directory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def typescript_readme(typescript_client) -> Path:
    """Return the directory with the programs of the TypeScript client's README, compiled."""
    directory = typescript_client / "project"
    tools = typescript_client / "typescript"
    await asyncio.to_thread(typescript.compile_programs, tools, directory, typescript.SNIPPETS)
    return directory


@pytest.fixture
def run_ts(typescript_client, name):
    """Return a function that runs statements with a client `broker` of a URL, and returns what they print as JSON."""

    async def run(url: str, statements: str, **options: object) -> list[Any]:
        path = typescript_client / "project" / f"{name}.mjs"
        path.write_text(typescript.PRELUDE + statements)
        arguments = [path, url, ADMIN_TOKEN, name, json.dumps(options)]
        said = await asyncio.to_thread(typescript.run, *arguments, cwd=path.parent)
        return [json.loads(line) for line in said.splitlines()]

    return run


@pytest.fixture
def puller(client, name) -> Puller:
    """Return a worker that leases from a subscription to *name*, once it has subscribed."""
    return Puller(client, name)
