"""The transport in PostgreSQL tables: a confirm is a commit, a consumer's link is a connection with a lock.

    publish --one statement per batch--> transport.messages --claim--> Inbox --settle--> gone, back, or dead-lettered

For one machine: every message is three small writes in one table, and a queue is as fast as that table. Not kept
here: everything of AMQP that the port does not name (other exchange types, TTL, length limits, priorities, x-death).
The tables are described in broker/store/postgres/migrations/0002.sql.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog

from broker.coalescing import Coalescer
from broker.errors import ConfigurationError, SignalBrokerError, StoreUnavailable, Unavailable, Unconfirmed, Unroutable
from broker.store.postgres.database import Database, DataError, Session
from broker.topology import Topology
from broker.transport import Message
from broker.transport.embedded.inbox import POLL, EmbeddedInbox, sql
from broker.transport.embedded.properties import encode, routing_keys

log = structlog.get_logger()


@dataclass(slots=True)
class _Outgoing:
    exchange: str
    keys: str
    properties: str
    body: bytes
    sent: bool = False
    """Whether PostgreSQL may have got it."""

    def failure(self, why: str) -> Unavailable | Unconfirmed:
        return Unconfirmed(why) if self.sent else Unavailable(why)


class EmbeddedTransport:
    """Keeps `broker.transport.Transport` in *database*, which must be open and migrated.

    Any number of processes may use one database at the same time; their consumers compete.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._publisher = Coalescer(self._store, max_batch=200)
        self._inboxes: set[EmbeddedInbox] = set()
        self._ready = False

    async def __aenter__(self) -> Self:
        self._database.listen("transport", self._heard)
        self._sweeper = asyncio.create_task(self._sweep(), name="transport:sweep")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._publisher.__aexit__(kind, error, trace)
        await asyncio.gather(*(inbox.close() for inbox in self._inboxes))

    @property
    def ready(self) -> bool:
        """Whether the database answered when last asked, at most about a second ago."""
        return self._ready

    @property
    def consuming(self) -> bool:
        """Whether the lock of every open consumer is held."""
        return all(inbox.established for inbox in self._inboxes)

    async def declare(self, topology: Topology) -> None:
        """Create what of *topology* does not exist yet; all of it or nothing."""
        try:
            async with self._database.transaction() as session:
                await session.execute(sql.lock_topology)
                await _declare(session, topology)
        except StoreUnavailable as error:
            raise Unavailable(str(error)) from error
        except DataError as error:
            raise ConfigurationError(f"the topology cannot be declared: {error}") from error

    async def publish(self, message: Message, *, exchange: str, routing_key: str, timeout: timedelta) -> None:
        """Publish *message*; it is committed to every queue it routes to when this returns."""
        outgoing = _Outgoing(exchange, routing_keys(message, routing_key), encode(message), message.body)
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                routed = await self._publisher.submit(outgoing)
        except (SignalBrokerError, TimeoutError) as error:
            raise outgoing.failure(str(error) or "no answer in time") from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise outgoing.failure("the transport was closed") from None
        if not routed:
            raise Unroutable(f"exchange {exchange!r} routes {routing_key!r} to no queue")

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncIterator[EmbeddedInbox]:
        """Consume *queue* with at most *prefetch* unsettled messages at a time."""
        inbox = EmbeddedInbox(self._database, queue, prefetch)
        self._inboxes.add(inbox)
        try:
            yield inbox
        finally:
            self._inboxes.discard(inbox)
            await inbox.close()

    async def depth(self, queue: str, *, timeout: timedelta) -> int:
        """Return the number of messages in *queue* that are ready (not handed out)."""
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                count: int | None = await self._database.fetchval(sql.depth, queue)
        except (SignalBrokerError, TimeoutError) as error:
            raise Unavailable(str(error) or "no answer in time") from error
        if count is None:
            raise Unroutable(f"there is no queue {queue!r}")
        return count

    async def _store(self, batch: list[_Outgoing]) -> list[bool]:
        """Store what routes somewhere; return, for each message of *batch*, whether it did."""
        async with self._database.session() as session:
            for outgoing in batch:
                outgoing.sent = True
            rows = await session.fetch(
                sql.publish,
                [outgoing.exchange for outgoing in batch],
                [outgoing.keys for outgoing in batch],
                [outgoing.properties for outgoing in batch],
                [outgoing.body for outgoing in batch],
            )
        stored = {row["position"] for row in rows}
        return [position in stored for position in range(1, len(batch) + 1)]

    async def _sweep(self) -> None:
        """Return what dead consumers held, and bury what is poison, again and again."""
        while True:
            try:
                owners = [row["owner"] for row in await self._database.fetch(sql.dead_owners)]
                if owners:
                    returned = await self._database.fetch(sql.give_back, owners, None)
                    log.warning("messages.returned", owners=owners, count=len(returned))
                await self._database.execute(sql.bury)
                self._ready = True
            except SignalBrokerError as error:
                if self._ready:
                    log.warning("transport.lost", error=str(error))
                self._ready = False
            await asyncio.sleep(POLL)

    def _heard(self, queue: str | None) -> None:
        for inbox in self._inboxes:
            if queue in {None, inbox.queue}:
                inbox.wake()


async def _declare(session: Session, topology: Topology) -> None:
    for exchange in topology.exchanges:
        if not await session.fetchval(sql.declare_exchange, exchange.name, exchange.kind):
            raise ConfigurationError(f"the exchange {exchange.name!r} exists and is not a {exchange.kind} exchange")
    for queue in topology.queues:
        if not await session.fetchval(sql.declare_queue, queue.name, json.dumps(queue.arguments)):
            raise ConfigurationError(f"the queue {queue.name!r} exists with other arguments")
        await session.execute(sql.bind, "", queue.name, queue.name, None)
    for binding in topology.bindings:
        to_queue, to_exchange = (binding.destination, None) if binding.to == "queue" else (None, binding.destination)
        await session.execute(sql.bind, binding.source, binding.routing_key, to_queue, to_exchange)
