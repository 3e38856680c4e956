"""RabbitMQ 3.10 to 4.x as a transport: the only package that imports aio-pika and aiormq.

    link "publish" -- ExchangePublisher per exchange -- ConfirmChannel (a new one after a nack or a missing confirm)
    link "consume" -+- RabbitInbox per consumer -- DeliveryChannel
                    +- a channel for each declare, depth and check of the watchdog

There are two links, because under an alarm RabbitMQ stops reading a connection that publishes, acks included.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Self

from aio_pika import ExchangeType  # noqa: TID251  (the fence)
from aio_pika.abc import AbstractChannel  # noqa: TID251
from aiormq.exceptions import (  # noqa: TID251  (the fence)
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from pamqp.commands import Queue

from broker.errors import ConfigurationError, Unavailable, Unroutable
from broker.topology import Topology
from broker.transport import Inbox, Message
from broker.transport.rabbitmq.inbox import RabbitInbox
from broker.transport.rabbitmq.link import Link, LinkLost, Refused, answers, split_hosts
from broker.transport.rabbitmq.publisher import Publisher

RETRY_PAUSE = 0.25


class RabbitTransport:
    """See `broker.transport.Transport`.

    It cannot tell which of several messages in flight met a missing exchange: a single message is `Unroutable`, several
    are `Unconfirmed`.

    Args:
        url: ``amqp://`` or ``amqps://``, with several hosts separated by commas.
        name: The name of the connections in RabbitMQ, followed by their purpose.
        heartbeat: A server that is silent for about three of these counts as lost.
        connect_timeout: How long connecting to one host may take.
        declare_timeout: How long `declare` keeps trying.
        watch_every: How often the watchdog asks the server whether it still knows our consumers.

    Raises:
        ConfigurationError: The URL cannot be parsed.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "signal-broker",
        heartbeat: timedelta = timedelta(seconds=10),
        connect_timeout: timedelta = timedelta(seconds=5),
        declare_timeout: timedelta = timedelta(seconds=30),
        watch_every: timedelta = timedelta(seconds=15),
    ) -> None:
        hosts = split_hosts(url)
        self._publishing = Link(hosts, name=f"{name}.publish", heartbeat=heartbeat, timeout=connect_timeout)
        self._consuming = Link(hosts, name=f"{name}.consume", heartbeat=heartbeat, timeout=connect_timeout)
        self._publisher = Publisher(self._publishing)
        self._inboxes: set[RabbitInbox] = set()
        self._declare_timeout = declare_timeout.total_seconds()
        self._watch_every = watch_every.total_seconds()
        self._lifetime = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._consuming)
            await stack.enter_async_context(self._publishing)
            await stack.enter_async_context(self._publisher)
            watchdog = asyncio.create_task(self._watch())
            stack.push_async_callback(asyncio.wait, [watchdog])
            stack.callback(watchdog.cancel)
            self._lifetime = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lifetime.aclose()

    @property
    def ready(self) -> bool:
        """See `broker.transport.Transport.ready`."""
        return self._publishing.up and not self._publishing.blocked

    @property
    def linked(self) -> bool:
        """See `broker.transport.Transport.linked`."""
        return self._consuming.up

    @property
    def consuming(self) -> bool:
        """See `broker.transport.Transport.consuming`."""
        return all(inbox.channel is not None for inbox in self._inboxes)

    async def publish(self, message: Message, *, exchange: str, routing_key: str, timeout: timedelta) -> None:
        """See `broker.transport.Transport.publish`."""
        await self._publisher.publish(message, exchange=exchange, routing_key=routing_key, timeout=timeout)

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncIterator[Inbox]:
        """See `broker.transport.Transport.consume`."""
        async with RabbitInbox(self._consuming, queue, prefetch=prefetch) as inbox:
            self._inboxes.add(inbox)
            try:
                yield inbox
            finally:
                self._inboxes.remove(inbox)

    async def depth(self, queue: str, *, timeout: timedelta) -> int:
        """See `broker.transport.Transport.depth`."""
        try:
            return (await self._inspect(queue, within=timeout.total_seconds())).message_count or 0
        except ChannelNotFoundEntity as error:
            raise Unroutable(f"there is no queue {queue!r}: {error}") from error
        except (LinkLost, *Refused) as error:
            raise Unavailable(f"the depth of queue {queue!r}: {error}") from error

    def unsettled(self, queue: str) -> Sequence[int]:
        """See `broker.transport.Transport.unsettled`."""
        return [tag for inbox in self._inboxes if inbox.queue == queue for tag in inbox.unsettled]

    async def declare(self, topology: Topology) -> None:
        """See `broker.transport.Transport.declare`."""
        reason = "no link"
        try:
            async with asyncio.timeout(self._declare_timeout):
                while True:
                    try:
                        async with self._consuming.channel() as channel, answers(self._declare_timeout):
                            return await _declare(channel, topology)
                    except (ChannelPreconditionFailed, ChannelAccessRefused) as error:
                        raise ConfigurationError(f"topology: {error}") from error
                    except (LinkLost, *Refused) as error:
                        reason = str(error)
                        await asyncio.sleep(RETRY_PAUSE)
        except TimeoutError:
            raise Unavailable(f"the topology was not declared within {self._declare_timeout:g} s: {reason}") from None

    async def _inspect(self, queue: str, *, within: float) -> Queue.DeclareOk:
        async with answers(within), self._consuming.channel() as channel:
            return (await channel.declare_queue(queue, passive=True)).declaration_result

    async def _watch(self) -> None:
        """Re-establish consumers that the server dropped without telling us."""
        while True:
            await asyncio.sleep(self._watch_every)
            for inbox in tuple(self._inboxes):
                channel = inbox.channel
                try:
                    known = (await self._inspect(inbox.queue, within=self._watch_every)).consumer_count
                except (LinkLost, *Refused):
                    continue  # the consumer notices that itself
                if channel is not None and known == 0:
                    channel.spent.set()


async def _declare(channel: AbstractChannel, topology: Topology) -> None:
    for exchange in topology.exchanges:
        await channel.declare_exchange(exchange.name, ExchangeType(exchange.kind), durable=True)
    for queue in topology.queues:
        await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in topology.bindings:
        find = channel.get_queue if binding.to == "queue" else channel.get_exchange
        destination = await find(binding.destination, ensure=False)
        await destination.bind(binding.source, binding.routing_key)
