"""One connection to RabbitMQ, kept alive: a lost connection is replaced, trying one host after the other."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Self, TypeVar, cast

import aio_pika  # noqa: TID251  (the fence)
import structlog
from aio_pika.abc import AbstractChannel  # noqa: TID251
from aiormq import Connection  # noqa: TID251
from aiormq.exceptions import (  # noqa: TID251
    AMQPError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from yarl import URL

from broker.errors import ConfigurationError
from broker.transport.rabbitmq.channel import Channel

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
CLOSE_TIMEOUT = 2.0

C = TypeVar("C", bound=Channel)
Refused = (ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed)

log = structlog.get_logger()


class LinkLost(Exception):
    """Raised when the server did not answer, or the connection or the channel was lost while waiting for it."""


@asynccontextmanager
async def answers(within: float) -> AsyncIterator[None]:
    """Limit the wait for the server's answers in the block to *within* seconds altogether.

    Raises:
        LinkLost: They did not come, whichever error aiormq raised.
        ChannelClosed: The server refused (one of `Refused`) and closed the channel.
    """
    try:
        async with asyncio.timeout(within):
            yield
    except asyncio.CancelledError:
        # aiormq cancels the tasks that wait on a connection that it gives up, although ours was not cancelled.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise LinkLost("the link was closed") from None
    except Refused:
        raise
    except TimeoutError:
        raise LinkLost(f"no answer within {within:g} s") from None
    # aiormq raises RuntimeError for a closed channel, and StopAsyncIteration if a handshake ends early.
    except (AMQPError, OSError, RuntimeError, StopAsyncIteration) as error:
        raise LinkLost(str(error) or repr(error)) from error


def split_hosts(url: str) -> tuple[URL, ...]:
    """Return one URL for each of the comma-separated hosts of *url*: ``amqp://user:pw@one:5672,two/vhost``.

    Raises:
        ConfigurationError: There is no host, or a host cannot be parsed.
    """
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    try:
        urls = tuple(URL(f"{scheme}://{credentials}{at}{host.strip()}{slash}{path}") for host in hosts.split(","))
    except ValueError as error:
        raise ConfigurationError(f"transport URL: {error}") from None
    if scheme not in {"amqp", "amqps"} or not all(url.host for url in urls):
        raise ConfigurationError("transport URL: expected amqp://user:password@host[:port][,host...]/vhost")
    return urls


class Link:
    """An async context manager; entering does not wait for the server.

    It uses aio-pika's plain connection, because the robust one supports only one host. Rare operations (topology,
    depths) use aio-pika's channels; publishing and consuming use channels of ours on the underlying aiormq connection.

    Args:
        hosts: The hosts to connect to, tried one after the other.
        name: The connection's name in RabbitMQ.
        heartbeat: A server that is silent for about three of these counts as lost.
        timeout: How long connecting or opening a channel may take.
    """

    def __init__(self, hosts: tuple[URL, ...], *, name: str, heartbeat: timedelta, timeout: timedelta) -> None:
        options = {"heartbeat": str(max(1, round(heartbeat.total_seconds()))), "name": name}
        self._hosts = tuple(host.update_query(options) for host in hosts)
        self._log = log.bind(link=name)
        self.timeout = timeout.total_seconds()
        self._connection: aio_pika.Connection | None = None
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def blocked(self) -> bool:
        """Whether the server has told this connection to stop publishing (a memory or disk alarm)."""
        # aiormq's only public method for this, `ready()`, waits.
        if self._connection is None:
            return False
        return not _underlying(self._connection)._Connection__connection_unblocked.is_set()  # type: ignore[attr-defined]  # noqa: SLF001

    async def open(self, kind: Callable[[Connection, int], C]) -> C:
        """Wait for a connection without a limit, and open a channel of *kind* on it.

        Raises:
            LinkLost: The channel did not open.
        """
        connection = _underlying(await self._connected())
        number = next(n for n in itertools.count(1) if n not in connection.channels)
        channel = connection.channels[number] = kind(connection, number)
        async with answers(self.timeout):
            await channel.open()
        return channel

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """Wait for a connection, and lend an aio-pika channel on it."""
        channel = (await self._connected()).channel(publisher_confirms=False)
        async with answers(self.timeout):
            await channel.initialize()
        try:
            yield channel
        finally:
            await close(channel)

    async def _connected(self) -> aio_pika.Connection:
        while (connection := self._connection) is None:
            await self._up.wait()
        return connection

    async def _run(self) -> None:
        pauses = _pauses()
        for host in itertools.cycle(self._hosts):
            where = f"{host.host}:{host.port}"
            try:
                connection = await self._connect(host)
            except LinkLost as error:
                self._log.warning("link.refused", host=where, error=str(error))
                await asyncio.sleep(next(pauses))
                continue
            pauses = _pauses()
            self._log.info("link.connected", host=where)
            try:
                self._connection = connection
                self._up.set()
                await asyncio.wait([_underlying(connection).closing])
            finally:
                self._connection = None
                self._up.clear()
                await close(connection)
            self._log.warning("link.lost", host=where)
            await asyncio.sleep(next(pauses))

    async def _connect(self, host: URL) -> aio_pika.Connection:
        connection = aio_pika.Connection(host)
        async with answers(self.timeout):
            await connection.connect()
        return connection


def _underlying(connection: aio_pika.Connection) -> Connection:
    assert connection.transport is not None  # noqa: S101  (it is connected)
    return cast("Connection", connection.transport.connection)


async def close(what: aio_pika.Connection | AbstractChannel | Channel) -> None:
    """Close *what*, without a long wait for a server that hangs."""
    with suppress(LinkLost, *Refused):
        async with answers(CLOSE_TIMEOUT):
            await what.close()


def _pauses() -> Iterator[float]:
    pause = SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)
