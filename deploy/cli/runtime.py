"""The runtime of every process: its parts are opened in order and closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from broker.errors import StoreUnavailable, TransportError
from broker.health import Health
from broker.losses import announce_losses
from broker.secrets import SecretBox
from broker.settings import Settings
from broker.store.postgres.database import Database
from broker.topology import TOPOLOGY
from broker.transport import Transport
from deploy.cli.backends import open_secrets, open_transport

STARTUP_TIMEOUT = timedelta(seconds=60)
"""How long a starting process waits for PostgreSQL and RabbitMQ before it gives up."""

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
async def open_runtime(settings: Settings, url: str) -> AsyncIterator[Runtime]:
    """Yield the runtime, with the topology declared.

    Raises:
        ConfigurationError: A setting cannot be used.
        TransportError: RabbitMQ could not be reached for a minute.
    """
    secrets = open_secrets(settings)
    async with (
        Database(url, timeout=settings.store_timeout, size=20) as database,
        open_transport(settings, database) as transport,
    ):
        await retry_start(lambda: transport.declare(TOPOLOGY))
        announce_losses(transport, database)
        yield Runtime(settings, database, transport, secrets, Health(database, transport))


async def retry_start(step: Callable[[], Awaitable[object]]) -> None:
    """Take a *step* of the start, and repeat it while PostgreSQL or RabbitMQ does not answer.

    Raises:
        StoreUnavailable, TransportError: It did not answer for a minute.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + STARTUP_TIMEOUT.total_seconds()
    while True:
        try:
            await step()
        except (StoreUnavailable, TransportError) as error:
            if clock() > end:
                raise
            log.warning("start.postponed", error=str(error))
            await asyncio.sleep(0.5)
        else:
            return
