"""Fixtures every test may ask for: real servers, one private instance of each per session."""

from __future__ import annotations

import random
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError

import pytest
from hypothesis import HealthCheck, settings

from broker.store.postgres.database import Database
from tests.support.chromium import provide_chromium
from tests.support.postgres import PostgresServer, fresh_database, postgres_server
from tests.support.prometheus import provide_prometheus
from tests.support.rabbitmq import rabbitmq_server
from tests.support.rabbitmq_servers import Rabbit

TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the files in the random order of this number")


def pytest_configure() -> None:
    """Let a run that is told to end stop its servers first, as after Ctrl-C; let examples be the same in every run.

    How long an example takes on a busy machine says nothing.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder: unit, integration, conformance, compat, e2e or chaos."""
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
    if (seed := config.getoption("shuffle")) is not None:
        files = sorted({item.path for item in items})
        random.Random(seed).shuffle(files)
        items.sort(key=lambda item: files.index(item.path))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install a browser and Prometheus before the first test, whose time that would take, if some test needs them."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    for fixture, provide in (("window", provide_chromium), ("prometheus_programs", provide_prometheus)):
        if fixture in wanted:
            with suppress(RuntimeError, CalledProcessError):
                provide()


@pytest.fixture(scope="session")
def prometheus_programs() -> None:
    """Prometheus and promtool on PATH."""
    provide_prometheus()


@pytest.fixture(scope="session")
def servers() -> Iterator[Path]:
    """A directory for the session's servers.

    Not pytest's: later sessions prune that, and the user a server runs as may not be able to enter it.
    """
    with tempfile.TemporaryDirectory(prefix="signal-broker-test-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "pg").mkdir()
        (directory / "rabbitmq").mkdir()
        yield directory


@pytest.fixture(scope="session")
def store_server(servers: Path) -> Iterator[PostgresServer]:
    """The session's PostgreSQL."""
    with postgres_server(servers / "pg", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(store_server: PostgresServer) -> str:
    """URL of the session's PostgreSQL."""
    return store_server.url


@pytest.fixture
async def database_url(store_server: PostgresServer) -> AsyncIterator[str]:
    """URL of a database of this test's own, migrated and empty."""
    async with fresh_database(store_server) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on this test's own database."""
    async with Database(database_url) as database:
        yield database


@pytest.fixture(scope="session")
def rabbitmq(servers: Path) -> Iterator[Rabbit]:
    """The session's RabbitMQ."""
    with rabbitmq_server(servers / "rabbitmq") as server:
        yield server


@pytest.fixture
def rabbitmq_url(rabbitmq: Rabbit) -> Iterator[str]:
    """URL of a vhost of this test's own."""
    with rabbitmq.vhost() as url:
        yield url
