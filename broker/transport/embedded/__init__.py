"""The transport in PostgreSQL tables: a confirm is a commit, a consumer's link is a session with an advisory lock.

    publish --one statement per batch--> transport.messages --claim--> Inbox --settle--> gone, back, or dead-lettered

For one machine: every message is three small writes to one table, and a queue is as fast as that table. Parts of AMQP
that the port does not name are missing: other exchange types, TTL, length limits, priorities, x-death.
broker/store/postgres/migrations/0002.sql describes the tables.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog

from broker.coalescing import Coalescer
from broker.errors import ConfigurationError, SignalBrokerError, StoreUnavailable, Unavailable, Unconfirmed, Unroutable
from broker.reasons import reason_of
from broker.store.postgres.database import Database, DataError, Session
from broker.topology import Binding, Queue, Topology
from broker.transport import NO_QUEUE, Hazard, Message
from broker.transport.embedded.inbox import POLL, EmbeddedInbox
from broker.transport.embedded.properties import routing_keys, write_properties
from broker.transport.embedded.queues import Sql

_LARGE = 16 << 10
"""Bytes of a body from which on it is stored beside the others, which do not wait for it."""
_BATCH_BYTES = 4 << 20
"""Bytes of large bodies that are stored in one statement."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Outgoing:
    exchange: str
    keys: str
    properties: str
    body: bytes
    sent: bool = False
    """Whether it may have reached PostgreSQL."""

    def failure(self, why: str) -> Unavailable | Unconfirmed:
        return Unconfirmed(why) if self.sent else Unavailable(why)


class EmbeddedTransport:
    """Implements `broker.transport.Transport` in *database*, which must be open and migrated.

    Any number of processes may use one database at the same time; their consumers compete.

    Args:
        database: Where the queues are.
        poll: Seconds after which a consumer looks into its queue without a notification.
    """

    def __init__(self, database: Database, *, poll: float = POLL) -> None:
        self._database = database
        self._poll = poll
        self._publisher = Coalescer(self._store, max_batch=200)
        self._large = Coalescer(self._store, weigh=lambda outgoing: len(outgoing.body), max_weight=_BATCH_BYTES)
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
        await self._large.__aexit__(kind, error, trace)
        await asyncio.gather(*(inbox.close() for inbox in self._inboxes))

    @property
    def ready(self) -> bool:
        """Whether the database answered the last check, about a second ago at most."""
        return self._ready

    @property
    def linked(self) -> bool:
        """Whether the database answered the last check: there is no other link."""
        return self._ready

    @property
    def consuming(self) -> bool:
        """Whether the lock of every open consumer is held."""
        return all(inbox.established for inbox in self._inboxes)

    async def declare(self, topology: Topology) -> Sequence[str]:
        """Create the missing parts of *topology*, all of them or none."""
        try:
            async with self._database.transaction() as session:
                await session.execute(Sql.lock_topology)
                await _declare(session, topology)
        except StoreUnavailable as error:
            raise Unavailable(str(error)) from error
        except DataError as error:
            raise ConfigurationError(f"the topology cannot be declared: {error}") from error
        return ()  # a step of the schema changes the arguments of earlier versions

    async def unbind(self, bindings: Sequence[Binding]) -> int:
        """Remove those of *bindings* that exist, all of them or none; return how many there were."""
        try:
            async with self._database.transaction() as session:
                return sum([len(await session.fetch(Sql.unbind, **_columns(binding))) for binding in bindings])
        except StoreUnavailable as error:
            raise Unavailable(str(error)) from error

    @property
    def may_lose_queues(self) -> bool:
        """See `broker.transport.Transport.may_lose_queues`: the queues are rows in the store."""
        return False

    def on_missing(self, queue: str, call: Callable[[], None]) -> None:
        """Do nothing: a queue here does not go missing."""

    def consume_anew(self, queue: str) -> None:
        """Do nothing: a queue here stays the same."""

    def publish(
        self,
        message: Message,
        *,
        exchange: str,
        routing_key: str,
        timeout: timedelta,
        mandatory: bool = True,
        repeatable: bool = False,  # noqa: ARG002
    ) -> asyncio.Future[None]:
        """Publish *message*, once; when the future is done it is committed to every queue it routes to."""
        outgoing = _Outgoing(exchange, routing_keys(message, routing_key), write_properties(message), message.body)
        return asyncio.ensure_future(self._publish(outgoing, routing_key, timeout, mandatory=mandatory))

    async def _publish(self, outgoing: _Outgoing, routing_key: str, timeout: timedelta, *, mandatory: bool) -> None:
        publisher = self._large if len(outgoing.body) > _LARGE else self._publisher
        try:
            routed = await publisher.submit(outgoing, timeout=timeout)
        except (SignalBrokerError, TimeoutError) as error:
            raise outgoing.failure(reason_of(error)) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise outgoing.failure("the transport was closed") from None
        if mandatory and not routed:
            raise Unroutable(f"exchange {outgoing.exchange!r} routes {routing_key!r} to no queue")

    async def rehearse(self, *, timeout: timedelta) -> None:
        """Return once PostgreSQL has taken a message for a queue that does not exist."""
        with suppress(Unroutable):
            await self.publish(Message(body=b"{}"), exchange="", routing_key=NO_QUEUE, timeout=timeout)

    def lacks(self, name: str) -> bool:  # noqa: ARG002
        """Return False: exchanges, queues and bindings here do not go missing."""
        return False

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncIterator[EmbeddedInbox]:
        """Consume *queue* with at most *prefetch* unsettled messages at a time."""
        inbox = EmbeddedInbox(self._database, queue, prefetch, poll=self._poll)
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
                count: int | None = await self._database.fetchval(Sql.depth, queue=queue)
        except (SignalBrokerError, TimeoutError) as error:
            raise Unavailable(reason_of(error)) from error
        if count is None:
            raise Unroutable(f"there is no queue {queue!r}")
        return count

    async def consumers(self, queue: str, *, timeout: timedelta) -> int:  # noqa: ARG002
        """Return 0: the messages are in the store, so a consumer that cannot reach the store holds none."""
        return 0

    async def hazards(self, queues: Sequence[Queue], *, timeout: timedelta) -> Sequence[Hazard]:  # noqa: ARG002
        """Return nothing: no setting changes what a queue does."""
        return ()

    async def gaps(self, topology: Topology, *, timeout: timedelta) -> Sequence[str]:  # noqa: ARG002
        """Return nothing: exchanges, queues and bindings here do not go missing."""
        return ()

    def unsettled(self, queue: str) -> Sequence[int]:
        """Return the tags of the messages of *queue* that consumers here were handed out and have not settled."""
        return [tag for inbox in self._inboxes if inbox.queue == queue for tag in inbox.unsettled]

    def lost_at(self, queue: str) -> float:  # noqa: ARG002
        """Return minus infinity: what a lost consumer held is ready again within a second."""
        return float("-inf")

    async def _store(self, batch: list[_Outgoing]) -> list[bool]:
        """Store a *batch*; return for each message whether it reached a queue."""
        async with self._database.session() as session:
            for outgoing in batch:
                outgoing.sent = True
            rows = await session.fetch(
                Sql.publish,
                exchanges=[outgoing.exchange for outgoing in batch],
                keys=[outgoing.keys for outgoing in batch],
                properties=[outgoing.properties for outgoing in batch],
                bodies=[outgoing.body for outgoing in batch],
            )
        stored = {row["position"] for row in rows}
        return [position in stored for position in range(1, len(batch) + 1)]

    async def _sweep(self) -> None:
        """Return the messages of dead consumers to their queues and bury poison, once a second."""
        while True:
            try:
                owners = [row["owner"] for row in await self._database.fetch(Sql.dead_owners)]
                if owners:
                    returned = await self._database.fetch(Sql.give_back, owners=owners, ids=None)
                    log.warning("messages.returned", owners=owners, count=len(returned))
                await self._database.execute(Sql.bury)
                self._ready = True
            except SignalBrokerError as error:
                if self._ready:
                    log.warning("transport.lost", error=reason_of(error))
                self._ready = False
            await asyncio.sleep(self._poll)

    def _heard(self, queue: str | None) -> None:
        for inbox in self._inboxes:
            if queue in {None, inbox.queue}:
                inbox.wake()


async def _declare(session: Session, topology: Topology) -> None:
    for exchange in topology.exchanges:
        if not await session.fetchval(Sql.declare_exchange, name=exchange.name, kind=exchange.kind):
            raise ConfigurationError(f"the exchange {exchange.name!r} exists and is not a {exchange.kind} exchange")
    for queue in topology.queues:
        arguments = json.dumps(queue.arguments)
        earlier = json.dumps([known.arguments for known in queue.earlier])
        if not await session.fetchval(Sql.declare_queue, name=queue.name, arguments=arguments, earlier=earlier):
            raise ConfigurationError(f"the queue {queue.name!r} exists with other arguments")
        await session.execute(Sql.bind, source="", routing_key=queue.name, queue=queue.name, exchange=None)
    for binding in topology.bindings:
        await session.execute(Sql.bind, **_columns(binding))


def _columns(binding: Binding) -> dict[str, str | None]:
    return {
        "source": binding.source,
        "routing_key": binding.routing_key,
        "queue": binding.destination if binding.to == "queue" else None,
        "exchange": binding.destination if binding.to == "exchange" else None,
    }
