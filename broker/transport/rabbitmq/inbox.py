"""One consumer of one queue, re-established whenever its channel, its link or its queue is lost."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import structlog
from aiormq import Connection  # noqa: TID251
from aiormq.abc import DeliveredMessage, FrameType  # noqa: TID251
from aiormq.exceptions import ChannelNotFoundEntity  # noqa: TID251
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from broker.transport import HELD_BYTES, Header, Received, Settlement
from broker.transport.rabbitmq.arrivals import Arrivals
from broker.transport.rabbitmq.channel import Channel, Passing
from broker.transport.rabbitmq.link import Link, LinkLost, Refused, answers, close
from broker.transport.rabbitmq.window import Window

REBUILD_PAUSE = 0.25
CANCEL_TIMEOUT = 30.0
"""A cancellation is answered after all messages that were sent before it, and these may be many and large."""
SETTLED_PAUSE = 0.25
"""RabbitMQ may miss an ack that is immediately followed by the close of the channel."""
_PLAIN = frozenset({str, int})
"""The types of headers that the port has, besides lists of texts."""

log = structlog.get_logger()


class DeliveryChannel(Channel):
    """A channel that passes messages on as they come, where aiormq would start a task for each.

    Args:
        connection: The connection of the channel.
        number: Its number there.
        on_delivery: Called with every message.
        on_cancel: Called when the server cancels the consumer: the queue was deleted, or lost its leader.
    """

    def __init__(
        self,
        connection: Connection,
        number: int,
        on_delivery: Callable[[Basic.Deliver, DeliveredMessage], None],
        on_cancel: Callable[[], None],
    ) -> None:
        super().__init__(connection, number)
        self._on_delivery = on_delivery
        self._on_cancel = on_cancel
        self._delivery: Basic.Deliver | None = None
        """What the frames that come next belong to."""
        self._header = ContentHeader()
        self._body: list[bytes] = []
        self._missing = 0
        """How many bytes of the body have not come yet."""
        self.frames = Passing(self.take_delivery, self.frames)

    def take_delivery(self, frame: FrameType) -> bool:
        """Take *frame* at once if it is of a delivery, all of which came this way."""
        if isinstance(frame, Basic.Deliver):
            self._delivery = frame
        elif self._delivery is None:
            return False
        elif isinstance(frame, ContentHeader):
            self._header, self._body, self._missing = frame, [], frame.body_size
            self._pass_on_if_complete(self._delivery)
        elif isinstance(frame, ContentBody):
            self._body.append(frame.value)
            self._missing -= len(frame.value)
            self._pass_on_if_complete(self._delivery)
        else:
            return False
        return True

    def _pass_on_if_complete(self, delivery: Basic.Deliver) -> None:
        if self._missing <= 0:
            self._delivery = None
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._on_delivery(delivery, DeliveredMessage(delivery, self._header, body, self))

    async def _on_deliver_frame(self, frame: Basic.Deliver) -> None:
        header = await self._get_frame()
        if not isinstance(header, ContentHeader):
            raise TypeError(f"{header!r} is no content header")
        self._on_delivery(frame, await self._read_content(frame, header))

    async def _on_cancel_frame(self, frame: Basic.CancelOk | Basic.Cancel) -> None:
        await super()._on_cancel_frame(frame)
        if isinstance(frame, Basic.Cancel):
            self._on_cancel()
            self.spent.set()


class RabbitInbox:
    """See `broker.transport.Inbox`. An async context manager; entering does not wait for the server.

    A queue can forget a consumer without a word (rabbitmq-server#641). That looks like an empty queue, so an idle
    consumer is renewed every now and then.

    Args:
        link: Where the queue is.
        queue: Its name.
        prefetch: Most unsettled messages.
        renew_every: Seconds after which an idle consumer is renewed.
        on_missing: Called when the queue seems to be missing.
        held_bytes: Most bytes of their bodies.
        arrivals: Where the messages go, if other inboxes' messages do as well.
        base: What the tags of its messages are higher than.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        *,
        prefetch: int,
        renew_every: float,
        on_missing: Callable[[], None],
        held_bytes: int = HELD_BYTES,
        arrivals: Arrivals | None = None,
        base: int = 0,
    ) -> None:
        self.queue = queue
        self._link = link
        self._window = Window(prefetch, most_bytes=held_bytes)
        self._renew_every = renew_every
        self._on_missing = on_missing
        self._log = log.bind(queue=queue)
        self._channel: DeliveryChannel | None = None
        self._consumer_tag = ""
        self._arrivals = arrivals or Arrivals()
        # Delivery tags start over on every channel. A message's tag is `_base` + its delivery tag, so that tags of lost
        # channels are recognisable: they are no longer in the window.
        self._base = self._highest = base
        self._surplus: list[int] = []
        self._outgrown = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._low = asyncio.Event()
        self._settled_at = float("-inf")
        self._stopping = False
        self._replaced = False
        """Whether the queue is another one now."""
        self.lost_at = float("-inf")
        """When the consumer was last lost, but not with its queue."""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._stop()
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])

    @property
    def channel(self) -> Channel | None:
        """The channel on which the server has this consumer, as far as we know."""
        channel = self._channel
        return None if channel is None or channel.spent.is_set() or not self._consumer_tag else channel

    @property
    def unsettled(self) -> Collection[int]:
        """The tags of the unsettled messages, in the order in which they came."""
        return self._window.tags.keys()

    @property
    def consuming(self) -> bool:
        """Whether the server has this consumer, as far as we know, or messages go to others only."""
        return self.suspended or self.channel is not None

    @property
    def suspended(self) -> bool:
        """Whether messages go to other consumers only."""
        return not self._wanted.is_set()

    def suspend(self) -> None:
        """See `broker.transport.Inbox.suspend`."""
        self._wanted.clear()
        self._outgrown.set()

    def resume(self) -> None:
        """See `broker.transport.Inbox.resume`."""
        self._wanted.set()

    def begin_again(self) -> None:
        """Consume on another channel: it is another queue now."""
        self._replaced = True
        if self._channel is not None:
            self._channel.spent.set()

    def resize(self, prefetch: int, held_bytes: int) -> None:
        """Have at most *prefetch* unsettled messages and *held_bytes* of their bodies from now on."""
        if self._window.resize(prefetch, most_bytes=held_bytes):
            self._outgrown.set()

    async def receive(self, limit: int, *, max_bytes: int = sys.maxsize) -> Sequence[Received]:
        """See `broker.transport.Inbox.receive`."""
        return await self._arrivals.take(limit, max_bytes=max_bytes)

    async def settle(self, messages: Sequence[Received], settlement: Settlement) -> None:
        """See `broker.transport.Inbox.settle`."""
        tags = {message.tag for message in messages} & self._window.tags.keys()
        if self._channel is None or not tags:
            return
        frames: Sequence[Frame]
        match settlement:
            case Settlement.ACK:
                frames = self._acks(tags)
            case Settlement.REJECT:
                frames = [Basic.Reject(delivery_tag=tag - self._base, requeue=False) for tag in sorted(tags)]
            case Settlement.RETURN:
                # RabbitMQ 4.3 does not count a nack towards the delivery limit, as it does a reject.
                frames = [Basic.Nack(delivery_tag=tag - self._base, requeue=True) for tag in sorted(tags)]
        number = self._channel.number
        self._channel.write(marshal(frame, number) for frame in frames)
        for tag in tags:
            self._window.remove(tag)
        if self._window.is_low:
            self._low.set()
        if self._window.may_grow:
            self._outgrown.set()
        self._settled_at = asyncio.get_running_loop().time()

    def _acks(self, tags: set[int]) -> list[Basic.Ack]:
        """Return the fewest acks: one for all messages before the first unsettled one, and one for each of the rest."""
        prefix = list(itertools.takewhile(tags.__contains__, self._window.tags))
        singles = sorted(tags.difference(prefix))
        acks = [Basic.Ack(delivery_tag=prefix[-1] - self._base, multiple=True)] if prefix else []
        return acks + [Basic.Ack(delivery_tag=tag - self._base) for tag in singles]

    async def _run(self) -> None:
        logged = ""
        while True:
            try:
                await self._consume()
                logged = ""
                self._log.warning("consumer.lost")
            except (LinkLost, *Refused) as error:
                if isinstance(error, ChannelNotFoundEntity):
                    self._on_missing()
                if str(error) != logged:
                    logged = str(error)
                    self._log.warning("consumer.refused", error=logged)
            await asyncio.sleep(REBUILD_PAUSE)

    async def _consume(self) -> None:
        """Consume until the channel is spent."""
        await self._wanted.wait()
        channel = await self._link.open(self._make_channel)
        self._replaced = False
        renewing: asyncio.Task[None] | None = None
        try:
            self._channel = channel
            await self._start(channel)
            self._log.info("consumer.established")
            renewing = asyncio.create_task(self._renew_repeatedly(channel))
            await channel.spent.wait()
        finally:
            if renewing is not None:
                renewing.cancel()
                await asyncio.wait([renewing])
            self._channel = None
            self._consumer_tag = ""
            if not self._replaced:
                self.lost_at = asyncio.get_running_loop().time()
            self._base = self._highest
            self._arrivals.remove(self._window.tags)
            self._window.clear()
            self._surplus.clear()
            self._outgrown.clear()
            await close(channel)

    async def _start(self, channel: DeliveryChannel) -> None:
        async with answers(self._link.timeout):
            await channel.basic_qos(prefetch_count=self._window.open())
            consuming = await channel.basic_consume(self.queue, _never_called)
        self._consumer_tag = consuming.consumer_tag or ""

    async def _renew_repeatedly(self, channel: DeliveryChannel) -> None:
        """Renew the consumer when it is idle, suspended, or its window is outgrown; a prefetch cannot be changed."""
        try:
            while True:
                await self._until_idle_or_outgrown()
                await self._cancel(channel)
                await self._wanted.wait()
                await self._until_low()
                if self._stopping:
                    return
                await self._start(channel)
        except (LinkLost, *Refused) as error:
            self._log.warning("consumer.refused", error=str(error))
            channel.spent.set()

    async def _until_idle_or_outgrown(self) -> None:
        highest = -1
        while self._window.tags or self._highest != highest:
            highest = self._highest
            with suppress(TimeoutError):
                async with asyncio.timeout(self._renew_every):
                    await self._outgrown.wait()
                    return

    async def _cancel(self, channel: DeliveryChannel) -> None:
        """Cancel the consumer and return the surplus; if suspended, also the messages not yet taken by `receive`."""
        async with answers(CANCEL_TIMEOUT):
            await channel.basic_cancel(self._consumer_tag)
        if self.suspended:
            await self.settle(self._arrivals.remove(self._window.tags), Settlement.RETURN)
        # Not before: it would be handed out again at once. A nack, because a message that was not even read must not
        # come closer to its delivery limit.
        channel.write(marshal(Basic.Nack(delivery_tag=tag, requeue=True), channel.number) for tag in self._surplus)
        self._log.debug("consumer.cancelled", surplus=len(self._surplus))
        self._surplus.clear()
        self._outgrown.clear()

    async def _until_low(self) -> None:
        """Wait until much of what is unsettled was settled."""
        while not self._window.is_low:
            self._low.clear()
            await self._low.wait()

    def _make_channel(self, connection: Connection, number: int) -> DeliveryChannel:
        return DeliveryChannel(connection, number, self._on_delivery, self._on_cancelled)

    def _on_cancelled(self) -> None:
        self._replaced = True
        self._on_missing()

    def _on_delivery(self, delivery: Basic.Deliver, message: DeliveredMessage) -> None:
        if message.channel is not self._channel:
            return
        tag = self._highest = self._base + (delivery.delivery_tag or 0)
        # After the first surplus message all are, so that they keep their order.
        if self._surplus or not self._window.add(tag, len(message.body)):
            self._surplus.append(tag - self._base)
            self._outgrown.set()
            return
        if self._window.may_grow:
            self._outgrown.set()
        properties = message.header.properties
        self._arrivals.add(
            Received(
                body=message.body,
                headers=_known(properties.headers or {}),
                type=properties.message_type,
                timestamp=properties.timestamp,
                content_type=properties.content_type or "application/octet-stream",
                tag=tag,
                redelivered=bool(delivery.redelivered),
            )
        )

    async def _stop(self) -> None:
        """Stop new messages, then wait until the server has read the last settlements."""
        self._stopping = True
        if self._channel and self._consumer_tag:
            with suppress(LinkLost, *Refused):
                async with answers(self._link.timeout):
                    await self._channel.basic_cancel(self._consumer_tag)
        await asyncio.sleep(self._settled_at + SETTLED_PAUSE - asyncio.get_running_loop().time())


def _known(headers: Mapping[str, Any]) -> dict[str, Header]:
    """Return the *headers* of the types that the port has."""
    return {name: value for name, value in headers.items() if type(value) in _PLAIN or _is_list(value)}


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


async def _never_called(message: DeliveredMessage) -> None:
    """Take the place of aiormq's callback; `DeliveryChannel` intercepts the messages."""
