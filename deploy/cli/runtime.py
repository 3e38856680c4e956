"""The runtime of every process: its parts are opened in order and closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from broker.errors import StoreUnavailable, TransportError
from broker.health import Health
from broker.secrets import SecretBox
from broker.settings import Settings
from broker.store.postgres.database import Database
from broker.transport import Transport
from deploy.cli.backends import open_secrets, open_transport

_PAUSE = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts that the gateway and the workers use."""

    settings: Settings
    database: Database
    transport: Transport
    secrets: SecretBox
    health: Health


@asynccontextmanager
async def open_runtime(settings: Settings, url: str, roles: Collection[str]) -> AsyncIterator[Runtime]:
    """Yield the runtime of *roles*, without waiting for PostgreSQL or RabbitMQ.

    Raises:
        ConfigurationError: A setting cannot be used.
    """
    secrets = open_secrets(settings)
    async with (
        Database(
            url, timeout=settings.store_timeout, size=settings.store_pool_size, purpose=" ".join(sorted(roles))
        ) as database,
        open_transport(settings, database) as transport,
        Health(database, transport) as health,
    ):
        yield Runtime(settings, database, transport, secrets, health)


async def retry_start(step: Callable[[], Awaitable[object]]) -> None:
    """Take a *step* of the start, and repeat it without end while PostgreSQL or RabbitMQ cannot do its part."""
    logged = ""
    while True:
        try:
            await step()
        except (StoreUnavailable, TransportError) as error:
            if str(error) != logged:
                logged = str(error)
                log.warning("start.postponed", error=logged)
            await asyncio.sleep(_PAUSE)
        else:
            return
