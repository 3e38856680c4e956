"""The parts that every process is made of, opened in order and closed in the reverse one."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from broker.errors import ConfigurationError, TransportError
from broker.health import Health
from broker.secrets import SecretBox, load_or_make_key
from broker.settings import Settings
from broker.store.database import Database
from broker.store.embedded import embedded_postgres
from broker.topology import TOPOLOGY
from broker.transport import Transport
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport

EMBEDDED = "embedded:"
STARTUP_TIMEOUT = timedelta(seconds=60)
"""How long a starting process waits for PostgreSQL and RabbitMQ before it gives up."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What gateway and workers are built on."""

    settings: Settings
    database: Database
    transport: Transport
    secrets: SecretBox
    health: Health


@contextmanager
def store_url(settings: Settings) -> Iterator[str]:
    """Yield the URL of the store; an embedded PostgreSQL runs meanwhile.

    Raises:
        ConfigurationError: The data directory cannot be used.
    """
    if settings.store_url != EMBEDDED:
        yield settings.store_url
        return
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"SIGNAL_BROKER_DATA_DIR: {error}") from error
    with embedded_postgres(settings.data_dir) as url:
        yield url


@contextmanager
def sole_user(settings: Settings) -> Iterator[None]:
    """Hold the data directory for this process alone.

    Raises:
        ConfigurationError: Another process runs on it.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (settings.data_dir / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(
                f"SIGNAL_BROKER_DATA_DIR: another signal-broker runs on {settings.data_dir}; give this one its own"
            ) from None
        yield


@asynccontextmanager
async def open_parts(settings: Settings, url: str) -> AsyncIterator[Parts]:
    """Yield the parts, with the topology declared.

    Raises:
        ConfigurationError: A setting cannot be used.
        TransportError: RabbitMQ could not be reached for a minute.
    """
    secrets = SecretBox(_secret_keys(settings))
    async with (
        Database(url, timeout=settings.store_timeout, size=20) as database,
        _transport(settings, database) as transport,
    ):
        await _declare(transport)
        yield Parts(settings, database, transport, secrets, Health(database, transport))


def _secret_keys(settings: Settings) -> list[str]:
    if settings.secret_keys:
        return [key.get_secret_value() for key in settings.secret_keys]
    if settings.store_url == EMBEDDED:
        return [load_or_make_key(settings.data_dir / "secret-key")]
    raise ConfigurationError(
        "SIGNAL_BROKER_SECRET_KEYS: must be set with a store of your own, the same for every process; make one with"
        " `python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"
    )


def _transport(settings: Settings, database: Database) -> EmbeddedTransport | RabbitTransport:
    if settings.transport_url == EMBEDDED:
        return EmbeddedTransport(database)
    return RabbitTransport(settings.transport_url)


async def _declare(transport: Transport) -> None:
    clock = asyncio.get_running_loop().time
    end = clock() + STARTUP_TIMEOUT.total_seconds()
    while True:
        try:
            await transport.declare(TOPOLOGY)
        except TransportError as error:
            if clock() > end:
                raise
            log.warning("topology.postponed", error=str(error))
            await asyncio.sleep(0.5)
        else:
            return
