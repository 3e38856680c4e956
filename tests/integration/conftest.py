"""One running product per transport for all tests of what it answers; names, not processes, keep tests apart."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from broker.settings import Settings
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import TOPOLOGY
from broker.transport import Transport
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport
from tests.support.attempts import attempt_store
from tests.support.history import QUEUE, History
from tests.support.postgres import fresh_database
from tests.support.product import Process, client_of
from tests.support.receiver import receiver
from workers.partition_maintainer import PartitionMaintainer


@dataclass(frozen=True)
class Product:
    """A running ``signal-broker run``."""

    url: str
    log: Path
    environment: dict[str, str]
    open_transport: Callable[[], AbstractAsyncContextManager[Transport]]

    def sibling(self, *arguments: str, **environment: str) -> Process:
        """Return a further process on the same store and transport, not yet started."""
        log = self.log.with_name(f"{uuid.uuid4().hex}.log")
        return Process(*arguments, environment={**self.environment, **environment}, log=log)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["embedded", "rabbitmq"])
async def product(request, postgres_url, tmp_path_factory) -> AsyncIterator[Product]:
    """Return the product on each transport in turn."""
    directory = tmp_path_factory.mktemp("product")
    async with fresh_database(postgres_url) as store_url:
        environment = {
            "STORE_URL": store_url,
            "DATA_DIR": str(directory),
            "BODY_TIMEOUT_SECONDS": "1",
            "SIGNAL_ENDPOINTS_LIMIT": "1000",
        }
        if request.param == "embedded":
            open_transport = embedded_transport(store_url)
        else:
            url = request.getfixturevalue("product_vhost")
            environment["TRANSPORT_URL"] = url
            open_transport = lambda: RabbitTransport(url)  # noqa: E731
        log = directory / "log"
        async with Process("run", environment=environment, log=log) as process:
            yield Product(process.url, log, environment, open_transport)
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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def second_url(product) -> AsyncIterator[str]:
    """Return the URL of a second gateway beside the product."""
    async with product.sibling("gateway") as process:
        yield process.url


@pytest.fixture
async def client(product):
    """Return a client that may do everything."""
    async with client_of(product.url) as client:
        yield client


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
def history(database):
    """Return the history of this test's own database."""
    return History(database)


@pytest.fixture
async def subscription(database):
    """Return a subscription to signals named `a`."""
    return await SubscriptionStore(database).create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)


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
