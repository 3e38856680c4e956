"""The servers that the transport's conformance suite runs against, one adapter each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from broker.store.postgres.database import Database
from broker.transport import Transport
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport
from tests.support.rabbitmq_servers import Rabbit


@dataclass(frozen=True, slots=True)
class TransportServer:
    """One server, and what the suite does with it.

    Args:
        open: Opens a transport on the server; every call is another client.
        cut: Cuts the links of every open transport, once.
        open_unreachable: Opens a transport whose server does not exist.
    """

    open: Callable[[], AbstractAsyncContextManager[Transport]]
    cut: Callable[[], Awaitable[object]]
    open_unreachable: Callable[[], AbstractAsyncContextManager[Transport]]


def embedded_server(database: Database) -> TransportServer:
    """Return the embedded transport's server, which is a database."""

    @asynccontextmanager
    async def open_on(url: str) -> AsyncIterator[Transport]:
        async with Database(url) as own, EmbeddedTransport(own) as transport:
            yield transport

    return TransportServer(
        open=lambda: open_on(database.url),
        cut=lambda: database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ),
        open_unreachable=lambda: open_on("postgresql://nobody@127.0.0.1:1/none"),
    )


def rabbitmq_transport_server(rabbitmq: Rabbit, url: str) -> TransportServer:
    """Return RabbitMQ's vhost *url*."""
    return TransportServer(
        open=lambda: RabbitTransport(url),
        cut=lambda: asyncio.to_thread(rabbitmq.close_connections),
        open_unreachable=lambda: RabbitTransport("amqp://127.0.0.1:1/", declare_timeout=timedelta(seconds=1)),
    )
