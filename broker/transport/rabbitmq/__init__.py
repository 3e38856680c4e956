"""RabbitMQ 3.10 to 4.x as a transport: the only package that imports aio-pika and aiormq.

    links "publish" -- ExchangePublisher per exchange -- Supply per link -- ConfirmChannel (a new one after a nack)
    link "consume" -+- RabbitInbox per consumer (of each shard) -- DeliveryChannel
                    +- Keeper of the topology
                    +- a channel for each depth
    Management, over HTTP: what AMQP does not show

Publishers have links of their own, because under an alarm RabbitMQ stops reading a connection that publishes, acks
included; two of them, to different hosts, if there are several.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Self, TypeVar

from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity  # noqa: TID251  (the fence)

from broker.errors import ConfigurationError, Unavailable, Unroutable
from broker.topology import SHARDED, Binding, Queue, Sharding, Topology, queue_of_shard, shard_topology
from broker.transport import HELD_BYTES, NO_QUEUE, Hazard, Inbox, Message
from broker.transport.rabbitmq.arrivals import Arrivals
from broker.transport.rabbitmq.confirms import Publication
from broker.transport.rabbitmq.inbox import RabbitInbox
from broker.transport.rabbitmq.keeper import Keeper
from broker.transport.rabbitmq.link import IDLE_PATIENCE, Link, LinkLost, Refused, answers, split_hosts
from broker.transport.rabbitmq.publisher import Publisher
from broker.transport.rabbitmq.shards import ShardedInbox, Shards

T = TypeVar("T")

RETRY_PAUSE = 0.25


class RabbitTransport:
    """See `broker.transport.Transport`.

    It cannot tell which of several messages in flight met a missing exchange: a single message is `Unroutable`, several
    are `Unconfirmed`.

    Args:
        url: ``amqp://`` or ``amqps://``, with several hosts separated by commas.
        name: The name of the connections in RabbitMQ, followed by their purpose.
        heartbeat: A server that is silent for about three of these counts as lost, if nothing is expected from it.
        connect_timeout: How long connecting to one host may take; None: less if there are others.
        declare_timeout: How long `declare` keeps trying.
        management: The URL of the management API; none: on its usual port of each host of *url*.
        renew_every: How often an idle consumer is renewed, in case the server has forgotten it.

    Raises:
        ConfigurationError: The URL cannot be parsed.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "signal-broker",
        heartbeat: timedelta = timedelta(seconds=10),
        connect_timeout: timedelta | None = None,
        declare_timeout: timedelta = timedelta(seconds=30),
        management: str = "",
        renew_every: timedelta = timedelta(seconds=15),
    ) -> None:
        hosts = self._hosts = split_hosts(url)
        self._management = management
        self._loop = asyncio.get_running_loop()  # a system call, which would show in every publish
        if connect_timeout is None:
            connect_timeout = timedelta(seconds=5 if len(hosts) == 1 else 1.5)
        link = partial(Link, hosts, heartbeat=heartbeat, timeout=connect_timeout)
        self._publishing: list[Link] = [link(name=f"{name}.publish")]
        if len(hosts) > 1:
            self._publishing.append(link(name=f"{name}.publish2", beside=self._publishing[0]))
            self._publishing[0].beside = self._publishing[1]
        self._publisher = Publisher(self._publishing, self._found_unroutable)
        for publishing in self._publishing:
            publishing.patience = partial(self._publisher.patience, publishing)
        self._consuming: Link = link(name=f"{name}.consume")
        self._consuming.patience = lambda: IDLE_PATIENCE
        self._keeper = Keeper(self._consuming, self._found_missing)
        self._consuming.on_up = self._keeper.wake
        self._on_missing: dict[str, list[Callable[[], None]]] = defaultdict(list)
        self._inboxes: set[RabbitInbox | ShardedInbox] = set()
        self._shards = Shards(time.monotonic)  # the loop's time stands still for as long as the process does
        self._declare_timeout = declare_timeout.total_seconds()
        self._renew_every = renew_every.total_seconds()
        self._lifetime = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._consuming)
            for link in self._publishing:
                await stack.enter_async_context(link)
            await stack.enter_async_context(self._publisher)
            keeping = asyncio.create_task(self._keeper.run())
            stack.push_async_callback(asyncio.wait, [keeping])
            stack.callback(keeping.cancel)
            self._lifetime = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lifetime.aclose()

    @property
    def ready(self) -> bool:
        """See `broker.transport.Transport.ready`."""
        return any(link.up for link in self._publishing) and not self._publisher.blocked and not self._publisher.stalled

    @property
    def linked(self) -> bool:
        """See `broker.transport.Transport.linked`."""
        return self._consuming.up

    @property
    def consuming(self) -> bool:
        """See `broker.transport.Transport.consuming`."""
        return all(inbox.consuming for inbox in self._inboxes)

    def publish(
        self,
        message: Message,
        *,
        exchange: str,
        routing_key: str,
        timeout: timedelta,
        mandatory: bool = True,
        repeatable: bool = False,
    ) -> asyncio.Future[None]:
        """See `broker.transport.Transport.publish`."""
        confirm = self._loop.create_future()
        lane = exchange
        if message.shard_by is not None:
            shard = self._shards.choose(exchange, routing_key, message.shard_by)
            if shard != routing_key:
                routing_key, lane = shard, f" {shard}"
        publication = Publication(message, exchange, routing_key, mandatory, confirm, repeatable)
        self._publisher.publish(publication, timeout.total_seconds(), lane=lane)
        return confirm

    async def rehearse(self, *, timeout: timedelta) -> None:
        """See `broker.transport.Transport.rehearse`."""
        confirm = self._loop.create_future()
        message = Message(body=b"{}")
        self._publisher.rehearse(
            Publication(message, "", NO_QUEUE, mandatory=True, confirm=confirm), timeout.total_seconds()
        )
        with suppress(Unroutable):
            await confirm

    def lacks(self, name: str) -> bool:
        """See `broker.transport.Transport.lacks`."""
        return any(map(self._keeper.lacks, self._shards.names(name)))

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncIterator[Inbox]:
        """See `broker.transport.Transport.consume`."""
        inbox: RabbitInbox | ShardedInbox
        if queue in SHARDED:
            inbox = ShardedInbox(queue, self._shards.count(queue), prefetch=prefetch, make=self._make_inbox)
        else:
            inbox = self._make_inbox(queue, prefetch=prefetch)
        async with inbox:
            self._inboxes.add(inbox)
            try:
                yield inbox
            finally:
                self._inboxes.remove(inbox)

    def _make_inbox(
        self,
        queue: str,
        *,
        prefetch: int,
        held_bytes: int = HELD_BYTES,
        arrivals: Arrivals | None = None,
        base: int = 0,
    ) -> RabbitInbox:
        return RabbitInbox(
            self._consuming,
            queue,
            prefetch=prefetch,
            renew_every=self._renew_every,
            on_missing=lambda: self._found_missing(queue),
            held_bytes=held_bytes,
            arrivals=arrivals,
            base=base,
        )

    async def depth(self, queue: str, *, timeout: timedelta) -> int:
        """See `broker.transport.Transport.depth`."""
        counts = [self._count(one, f"the depth of queue {one!r}", timeout) for one in self._shards.names(queue)]
        return sum(messages for messages, _ in await asyncio.gather(*counts))

    async def consumers(self, queue: str, *, timeout: timedelta) -> int:
        """See `broker.transport.Transport.consumers`."""
        what = "the number of consumers of queue"
        counts = [self._count(one, f"{what} {one!r}", timeout) for one in self._shards.names(queue)]
        return max(consumers for _, consumers in await asyncio.gather(*counts))

    def shard(self, queue: str, sharding: Sharding, *, valid: timedelta) -> None:
        """See `broker.transport.sharding.ShardingTransport.shard`."""
        before = self._shards.count(queue)
        self._shards.split(queue, sharding, valid=valid)
        if sharding.consumed < before:
            self._keeper.forget(shard_topology(queue, before, first=sharding.consumed))
        for inbox in self._inboxes:
            if isinstance(inbox, ShardedInbox) and inbox.queue == queue:
                inbox.spread(sharding.consumed)

    def shards(self, queue: str) -> tuple[str, ...]:
        """See `broker.transport.sharding.ShardingTransport.shards`."""
        return self._shards.names(queue)

    async def total(self, queue: str, *, timeout: timedelta) -> int | None:
        """See `broker.transport.sharding.ShardingTransport.total`: only the management API shows what is handed out."""
        from broker.transport.rabbitmq.management import Management  # noqa: PLC0415  (aiohttp, which few commands need)

        async with Management(self._hosts, self._management, timeout=timeout) as management:
            return await management.total(queue)

    async def delete(self, queue: str, *, timeout: timedelta) -> None:
        """See `broker.transport.sharding.ShardingTransport.delete`."""

        async def delete() -> None:
            async with answers(self._consuming.timeout), self._consuming.channel() as channel:
                await channel.queue_delete(queue)

        try:
            await self._insist(delete, timeout.total_seconds(), f"the queue {queue!r} was not deleted")
        except Refused as error:
            raise ConfigurationError(f"topology: {error}") from error

    async def _count(self, queue: str, what: str, timeout: timedelta) -> tuple[int, int]:
        """Return how many messages of *queue* are ready, and how many consumers it has."""
        within = timeout.total_seconds()

        async def ask() -> tuple[int, int]:
            async with answers(within), self._consuming.channel() as channel:
                declared = await channel.queue_declare(queue, passive=True)
            return declared.message_count or 0, declared.consumer_count or 0

        try:
            return await self._insist(ask, within, f"{what} was not told")
        except ChannelNotFoundEntity as error:
            raise Unroutable(f"there is no queue {queue!r}: {error}") from error
        except Refused as error:
            raise Unavailable(f"{what}: {error}") from error

    async def hazards(self, queues: Sequence[Queue], *, timeout: timedelta) -> Sequence[Hazard]:
        """See `broker.transport.Transport.hazards`: the policies, which only the management API shows."""
        from broker.transport.rabbitmq.management import Management  # noqa: PLC0415  (aiohttp, which few commands need)

        async with Management(self._hosts, self._management, timeout=timeout) as management:
            return await management.hazards(queues)

    async def gaps(self, topology: Topology, *, timeout: timedelta) -> Sequence[str]:
        """See `broker.transport.Transport.gaps`: the bindings, which only the management API shows."""
        from broker.transport.rabbitmq.management import Management  # noqa: PLC0415  (aiohttp, which few commands need)

        async with Management(self._hosts, self._management, timeout=timeout) as management:
            return await management.gaps(topology)

    def unsettled(self, queue: str) -> Sequence[int]:
        """See `broker.transport.Transport.unsettled`."""
        return [tag for inbox in self._inboxes if inbox.queue == queue for tag in inbox.unsettled]

    def lost_at(self, queue: str) -> float:
        """See `broker.transport.Transport.lost_at`: RabbitMQ 4.3 keeps it for its ``consumer_disconnected_timeout``."""
        return max((inbox.lost_at for inbox in self._inboxes if inbox.queue == queue), default=float("-inf"))

    async def declare(self, topology: Topology) -> Sequence[str]:
        """See `broker.transport.Transport.declare`."""
        return await self._change(partial(self._declare, topology))

    async def unbind(self, bindings: Sequence[Binding]) -> None:
        """See `broker.transport.Transport.unbind`."""
        for binding in bindings:
            await self._change(partial(self._keeper.unbind, binding))

    @property
    def may_lose_queues(self) -> bool:
        """See `broker.transport.Transport.may_lose_queues`: a queue can be deleted."""
        return True

    def on_missing(self, queue: str, call: Callable[[], None]) -> None:
        """See `broker.transport.Transport.on_missing`."""
        self._on_missing[queue].append(call)

    def consume_anew(self, queue: str) -> None:
        """See `broker.transport.Transport.consume_anew`."""
        for inbox in self._inboxes:
            if inbox.queue == queue:
                inbox.begin_again()

    async def _declare(self, topology: Topology) -> Sequence[str]:
        try:
            return await self._keeper.declare(topology)
        except ChannelAccessRefused as error:
            raise Unavailable(
                f"topology: {error}: an administrator must run `signal-broker topology --apply`, or grant this"
            ) from error

    async def _change(self, change: Callable[[], Awaitable[T]]) -> T:
        """Change the topology."""
        try:
            return await self._insist(change, self._declare_timeout, "the topology was not declared")
        except Refused as error:
            raise ConfigurationError(f"topology: {error}") from error

    async def _insist(self, ask: Callable[[], Awaitable[T]], within: float, complaint: str) -> T:
        """Ask, and ask again while the server does not answer or the link is lost.

        Raises:
            Unavailable: There was no answer within so many seconds.
            ChannelClosed: The server refused (one of `Refused`).
        """
        reason = ""
        try:
            async with asyncio.timeout(within):
                while True:
                    try:
                        return await ask()
                    except LinkLost as error:
                        reason = str(error)
                        await asyncio.sleep(RETRY_PAUSE)
        except TimeoutError:
            reason = reason or "no answer" if self._consuming.up else self._consuming.trouble
            raise Unavailable(f"{complaint} within {within:g} s: {reason}") from None

    def _found_unroutable(self, exchange: str, routing_key: str) -> None:
        if not exchange:
            self._found_missing(routing_key)
        elif self._keeper.leads_to_queue(exchange):
            self._keeper.wake()

    def _found_missing(self, queue: str) -> None:
        if self._keeper.keeps(queue):
            self._keeper.wake()
        for call in self._on_missing.get(queue_of_shard(queue), ()):
            call()
