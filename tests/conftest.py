"""Fixtures every test may ask for: real servers, one private instance of each per session."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.store.postgres.database import Database
from tests.support.postgres import fresh_database, postgres_server
from tests.support.rabbitmq import rabbitmq_server
from tests.support.rabbitmq_servers import Rabbit


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
def postgres_url(servers: Path) -> Iterator[str]:
    """URL of the session's PostgreSQL."""
    with postgres_server(servers / "pg") as url:
        yield url


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """URL of a database of this test's own, migrated."""
    async with fresh_database(postgres_url) as url:
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
