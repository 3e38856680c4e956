"""One connection to RabbitMQ, kept alive: a lost or hung one is replaced, trying one host after the other."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Self, TypeVar, cast

import aio_pika  # noqa: TID251  (the fence)
import structlog
from aiormq import Connection  # noqa: TID251
from aiormq.exceptions import (  # noqa: TID251
    AMQPError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from yarl import URL

from broker.errors import ConfigurationError
from broker.reasons import reason_of
from broker.transport.rabbitmq.channel import Channel
from broker.transport.rabbitmq.reading import read_quickly
from broker.transport.rabbitmq.tolerance import be_tolerant, hear_refusals

SHORTEST_PAUSE = 0.1
IDLE_PATIENCE = 2.0
"""Seconds after which a silent link on which nothing is owed asks the server for a sign of life."""
LOOK_EVERY = 0.25
DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}
PULSE_TIMEOUT = 1.25
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
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (only tasks wait)
    before = task.cancelling()
    try:
        async with asyncio.timeout(within):
            yield
    except asyncio.CancelledError:
        # aiormq cancels the tasks that wait on a connection that it gives up, although ours was not cancelled.
        if task.cancelling():
            raise
        raise LinkLost("the link was closed") from None
    except Exception as error:
        # aiormq replaces a cancellation by the error that it meets while it closes the channel.
        if task.cancelling() > before:
            raise asyncio.CancelledError from error
        if isinstance(error, Refused):
            raise
        if isinstance(error, TimeoutError):
            raise LinkLost(f"no answer within {within:g} s") from None
        # aiormq raises RuntimeError for a closed channel, and StopAsyncIteration if a handshake ends early.
        if isinstance(error, AMQPError | OSError | RuntimeError | StopAsyncIteration):
            raise LinkLost(reason_of(error)) from error
        raise


def split_hosts(url: str) -> tuple[URL, ...]:
    """Return one URL for each of the different comma-separated hosts of *url*: ``amqp://user:pw@one:5672,two/vhost``.

    Raises:
        ConfigurationError: There is no host, or a host cannot be parsed.
    """
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    credentials, at, hosts = authority.rpartition("@")
    tail = rest.removeprefix(authority)
    try:
        urls = tuple(URL(f"{scheme}://{credentials}{at}{host.strip()}{tail}") for host in hosts.split(","))
    except ValueError as error:
        raise ConfigurationError(f"transport URL: {error}") from None
    if scheme not in {"amqp", "amqps"} or not all(url.host for url in urls):
        raise ConfigurationError("transport URL: expected amqp://user:password@host[:port][,host...]/vhost")
    return tuple({_where(url): url for url in urls}.values())


class Link:
    """An async context manager; entering does not wait for the server.

    It uses aio-pika's plain connection, because the robust one supports only one host. All channels are ours, on the
    underlying aiormq connection.

    A node that hangs keeps its connections open, and heartbeats notice it only after half a minute. So a link on which
    nothing arrived for longer than its patience asks for a sign of life, and is given up without one.

    Args:
        hosts: The hosts to connect to, tried one after the other, from any of them.
        name: The connection's name in RabbitMQ.
        heartbeat: A server that is silent for about three of these counts as lost.
        timeout: How long connecting or opening a channel may take.
        beside: Another link, which is not to be connected to the same host.
    """

    def __init__(
        self,
        hosts: tuple[URL, ...],
        *,
        name: str,
        heartbeat: timedelta,
        timeout: timedelta,
        beside: Link | None = None,
    ) -> None:
        options = {"heartbeat": str(max(1, round(heartbeat.total_seconds()))), "name": name}
        self._hosts = [host.with_query({**options, **host.query}) for host in hosts]
        random.shuffle(self._hosts)  # or a single node would serve, and fail, every process
        self._log = log.bind(link=name)
        self.patience: Callable[[], float | None] = lambda: None
        """For how many seconds the server may be silent now; None: for any time."""
        self.on_up: Callable[[], None] = lambda: None
        """Called whenever there is a new connection."""
        self.timeout = timeout.total_seconds()
        self.beside = beside
        self.trouble = ""
        """Why there is no connection, or why there was none before."""
        self.host = ""
        """The host and port of the connection, or of the last attempt."""
        self._connection: aio_pika.Connection | None = None
        be_tolerant()
        hear_refusals()
        read_quickly()
        self._unblocked: asyncio.Event | None = None
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._closing:
            await asyncio.wait(self._closing)

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def blocked(self) -> bool:
        """Whether the server has told this connection to stop publishing (a memory or disk alarm)."""
        return not (self._unblocked is None or self._unblocked.is_set())

    async def open(self, kind: Callable[[Connection, int], C]) -> C:
        """Wait for a connection without a limit, and open a channel of *kind* on it.

        Raises:
            LinkLost: The channel did not open.
        """
        return await self._open(_underlying(await self._connected()), kind)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Channel]:
        """Wait for a connection, and lend a channel on it."""
        channel = await self.open(Channel)
        try:
            yield channel
        finally:
            await close(channel)

    def discard(self, what: aio_pika.Connection | Channel) -> None:
        """Close *what* in the background."""
        closing = asyncio.create_task(close(what))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _open(self, connection: Connection, kind: Callable[[Connection, int], C]) -> C:
        number = next(n for n in itertools.count(1) if n not in connection.channels)
        channel = connection.channels[number] = kind(connection, number)
        async with answers(self.timeout):
            await channel.open()
        return channel

    async def _connected(self) -> aio_pika.Connection:
        while (connection := self._connection) is None:
            await self._up.wait()
        return connection

    async def _run(self) -> None:
        pauses = _pauses()
        for host in itertools.cycle(self._hosts):
            where = _where(host)
            if self.beside is not None and self.beside.host == where:
                continue
            self.host = where
            self.trouble = self.trouble or f"{where}: no answer yet"
            try:
                connection = await self._connect(host)
            except LinkLost as error:
                self.trouble = f"{where}: {error}"
                self._log.warning("link.refused", host=where, error=str(error))
                await asyncio.sleep(next(pauses))
                continue
            pauses = _pauses()
            self._log.info("link.connected", host=where)
            try:
                self._connection = connection
                # aiormq's only public method for this, `ready()`, waits.
                self._unblocked = _underlying(connection)._Connection__connection_unblocked  # type: ignore[attr-defined]  # noqa: SLF001
                self._up.set()
                self.on_up()
                self.trouble = f"{where}: {await self._lost(_underlying(connection))}"
            finally:
                self._connection = self._unblocked = None
                self._up.clear()
                self.discard(connection)
            self._log.warning("link.lost", host=where, error=self.trouble)
            await asyncio.sleep(next(pauses))

    async def _connect(self, host: URL) -> aio_pika.Connection:
        connection = aio_pika.Connection(host)
        try:
            async with answers(self.timeout):
                await connection.connect()
        except BaseException:
            self.discard(connection)  # its finalizer would want to do that, perhaps without an event loop
            raise
        return connection

    async def _lost(self, connection: Connection) -> str:
        """Return why *connection* was lost, once it is; one that shows no sign of life is given up."""
        closing = connection.closing
        looked = waits_since = _last_frame(connection)
        while True:
            await asyncio.wait([closing], timeout=LOOK_EVERY)
            if closing.done():
                return _reason(closing)
            now, patience = connection.loop.time(), self.patience()
            # This process may have been stopped, and not the server.
            if patience is None or self.blocked or now > looked + 4 * LOOK_EVERY:
                waits_since = now
            elif now > max(waits_since, _last_frame(connection)) + patience and not await self._lives(connection):
                _give_up(connection)
                return "the server hangs"
            looked = connection.loop.time()

    async def _lives(self, connection: Connection) -> bool:
        """Return whether the server shows a sign of life: the answer to a question that it can answer at once."""
        asked = connection.loop.time()
        try:
            async with asyncio.timeout(PULSE_TIMEOUT):
                self.discard(await self._open(connection, Channel))
        except (LinkLost, TimeoutError):
            return _last_frame(connection) > asked or self.blocked or connection.is_closed
        return True


def _where(host: URL) -> str:
    return f"{host.host}:{host.port or DEFAULT_PORTS[host.scheme]}"


def _last_frame(connection: Connection) -> float:
    """Return when the last frame arrived on *connection*."""
    return float(connection._Connection__last_frame_time)  # type: ignore[attr-defined]  # noqa: SLF001


def _give_up(connection: Connection) -> None:
    """Let *connection* fail at once, as aiormq does with one whose heartbeats do not come; closing it would wait."""
    connection._Connection__last_frame_time = float("-inf")  # type: ignore[attr-defined]  # noqa: SLF001
    connection._reader_task.cancel()  # noqa: SLF001


def _reason(closing: asyncio.Future[object]) -> str:
    error = None if closing.cancelled() else closing.exception()
    return "the connection was closed" if error is None else reason_of(error)


def _underlying(connection: aio_pika.Connection) -> Connection:
    assert connection.transport is not None  # noqa: S101  (it is connected)
    return cast("Connection", connection.transport.connection)


async def close(what: aio_pika.Connection | Channel) -> None:
    """Close *what*, without a long wait for a server that hangs."""
    with suppress(LinkLost, *Refused):
        async with answers(CLOSE_TIMEOUT):
            await what.close()


def _pauses() -> Iterator[float]:
    pause = SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)
