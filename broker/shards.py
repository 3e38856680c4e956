"""Shards: every process goes by the numbers that the topology command has written, and notices a change within seconds.

topology --record-shards 4 --> table shards --NOTIFY, or a look every 5 s--> each process: declare, consume, publish
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog

from broker.errors import ConfigurationError, SignalBrokerError
from broker.store.postgres.database import Database
from broker.store.shards import CHANNEL, ShardStore
from broker.topology import Sharding, shard_topology
from broker.transport import Transport
from broker.transport.sharding import ShardingTransport

LOOK_EVERY = timedelta(seconds=5)
VALID = timedelta(seconds=15)
"""For how long a process publishes by what it has read; after that it uses the first shard alone."""

log = structlog.get_logger()


class ShardFollower:
    """Lets *transport* go by the numbers of shards. An async context manager; entering waits for the first look.

    Args:
        database: Where the numbers are.
        transport: Where the queues are.
        declare: Whether shards that do not exist are declared, before they are consumed.
    """

    def __init__(self, database: Database, transport: Transport, *, declare: bool = True) -> None:
        self._database = database
        self._store = ShardStore(database)
        self._transport = transport
        self._declare = declare
        self._known: dict[str, Sharding] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.look()
        self._database.listen(CHANNEL, lambda _: self._changed.set())
        self._task = asyncio.create_task(self._follow(), name="shards")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> None:
        """Read the numbers, and go by them. A shard gets nothing before it is declared and consumed here.

        Raises:
            StoreUnavailable: PostgreSQL did not answer.
            TransportError: A shard could not be declared now.
            ConfigurationError: It exists with other arguments, or this transport splits no queues.
        """
        began = time.monotonic()
        wanted = await self._store.read()
        if not isinstance(self._transport, ShardingTransport):
            if any(sharding != Sharding() for sharding in wanted.values()):
                raise ConfigurationError("queues are split into shards, which only RabbitMQ as the transport does")
            return

        def valid() -> timedelta:  # the answer may be as old as the question
            return VALID - timedelta(seconds=time.monotonic() - began)

        for queue, sharding in wanted.items():
            known = self._known.get(queue, Sharding())
            if sharding.consumed > known.consumed:
                known = replace(known, published=min(sharding.published, known.consumed))
                self._transport.shard(queue, known, valid=valid())
                if self._declare:
                    await self._transport.declare(shard_topology(queue, sharding.consumed))
            self._transport.shard(queue, sharding, valid=valid())
            if sharding != self._known.get(queue, Sharding()):
                log.info("shards.changed", queue=queue, published=sharding.published, consumed=sharding.consumed)
            self._known[queue] = sharding

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY.total_seconds()):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self.look()
            except SignalBrokerError as error:
                log.warning("shards.postponed", error=str(error))
