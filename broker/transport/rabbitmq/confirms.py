"""A channel that tracks every message until its publisher confirm."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from aiormq import Connection  # noqa: TID251
from aiormq.abc import ConfirmationFrameType, FrameType  # noqa: TID251
from aiormq.exceptions import ChannelNotFoundEntity  # noqa: TID251
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.errors import Nacked, TransportError, Unconfirmed, Unroutable
from broker.reasons import reason_of
from broker.transport import Message
from broker.transport.rabbitmq import frames
from broker.transport.rabbitmq.channel import Channel, Passing

MOST_MESSAGES = 200
"""RabbitMQ lets a channel that waits for a queue take between 200 and 400 messages, and then reads nothing more from
the whole connection."""
MOST_BYTES = 8 << 20


@dataclass(slots=True, eq=False)
class Publication:
    """A message in flight; `channel` is the channel that sent it, None before that."""

    message: Message
    exchange: str
    routing_key: str
    mandatory: bool
    confirm: asyncio.Future[None]
    repeatable: bool = False
    channel: ConfirmChannel | None = None
    timer: asyncio.TimerHandle | None = None

    def end(self, error: Exception | None = None) -> None:
        """Give the caller its answer, unless the caller is gone or has one."""
        if self.timer is not None:
            self.timer.cancel()
        if self.confirm.done():
            return
        if error is None:
            self.confirm.set_result(None)
        else:
            self.confirm.set_exception(error)


class ConfirmChannel(Channel):
    """A channel in confirm mode.

    The first nack makes it `spent`: RabbitMQ 3.10 can nack for ever on a channel that was opened during the election of
    a leader.

    Args:
        connection: The connection of the channel.
        number: Its number there.
        on_ack: Called with this channel when the server has confirmed messages; the window may have room again.
        on_unroutable: Called with the exchange and routing key of a message that reached no queue.
    """

    def __init__(
        self,
        connection: Connection,
        number: int,
        on_ack: Callable[[ConfirmChannel], None],
        on_unroutable: Callable[[str, str], None],
    ) -> None:
        super().__init__(connection, number, confirms=True)
        self._id = uuid.uuid4().hex
        self._last_tag = 0
        self._outstanding: OrderedDict[int, Publication] = OrderedDict()
        self._on_ack = on_ack
        self._on_unroutable = on_unroutable
        self.given_up = False
        self._returning = False
        self.frames = Passing(self.take_confirm, self.frames)
        self.bytes = 0
        self.progressed_at = self.loop.time()
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def full(self) -> bool:
        """Whether nothing can be sent: the window of unconfirmed messages is full, was given up, or is closed."""
        return len(self._outstanding) >= MOST_MESSAGES or self.bytes >= MOST_BYTES or self.given_up or self.is_closed

    def send(self, publication: Publication) -> None:
        """Send a message; its future is set when the confirm comes or the channel is closed."""
        tag = self._last_tag + 1
        message = publication.message
        written = frames.publish(
            message,
            exchange=publication.exchange,
            routing_key=publication.routing_key,
            mandatory=publication.mandatory,
            # Unique per publish. A basic.return has no delivery tag, but it has this id.
            message_id=f"{self._id}.{tag}",
            channel=self.number,
            body_limit=self.max_content_size,
        )
        self.write(written)
        self._last_tag = tag
        if not self._outstanding:
            self.progressed_at = self.loop.time()
        self._outstanding[tag] = publication
        self.bytes += len(message.body)
        self.idle.clear()
        publication.channel = self

    def give_up(self, reason: str) -> None:
        """Wait no longer for the confirms of what was sent."""
        for publication in self._outstanding.values():
            publication.end(Unconfirmed(reason))
        self.given_up = True
        self.spent.set()

    def resume(self) -> None:
        """Send again on this channel, which was given up: its confirms come after all."""
        self.given_up = False
        self.spent.clear()

    def take_confirm(self, frame: FrameType) -> bool:
        """Take *frame* at once if it is a confirm, unless one before it is still being read."""
        if self._returning or not isinstance(frame, Basic.Ack | Basic.Nack):
            return False
        self._on_confirm(frame)
        return True

    async def _on_return_frame(self, frame: Basic.Return) -> None:
        self._returning = True
        try:
            header = await self._get_frame()
            if not isinstance(header, ContentHeader):
                raise TypeError(f"{header!r} is no content header")
            await self._read_content(frame, header)
        finally:
            self._returning = False
        _, _, tag = (header.properties.message_id or "").rpartition(".")
        self._on_unroutable(frame.exchange or "", frame.routing_key or "")
        # The ack that follows changes nothing about the answer.
        if publication := self._outstanding.get(int(tag)):
            where = f"exchange {frame.exchange!r}, routing key {frame.routing_key!r}"
            publication.end(Unroutable(f"{frame.reply_text}: {where}"))

    async def _on_confirm_frame(self, frame: ConfirmationFrameType) -> None:
        self._on_confirm(frame)

    def _on_confirm(self, frame: ConfirmationFrameType) -> None:
        self.progressed_at = self.loop.time()
        last = frame.delivery_tag or 0
        multiple = not isinstance(frame, Basic.Reject) and frame.multiple
        tags = list(itertools.takewhile(last.__ge__, self._outstanding)) if multiple else [last]
        acked = isinstance(frame, Basic.Ack)
        for tag in tags:
            publication = self._outstanding.pop(tag, None)
            if publication is None:  # the channel was closed meanwhile, which failed the publication
                continue
            self.bytes -= len(publication.message.body)
            if acked:
                publication.end()
            else:
                publication.end(Nacked(f"a queue behind exchange {publication.exchange!r} refused the message"))
        if not self._outstanding:
            self.idle.set()
        if acked:
            self._on_ack(self)
        else:
            self.spent.set()

    def _on_closed(self, closing: asyncio.Future[object]) -> None:
        super()._on_closed(closing)
        cause = None if closing.cancelled() else closing.exception()
        kind: type[TransportError] = Unconfirmed
        if isinstance(cause, ChannelNotFoundEntity) and len(self._outstanding) == 1:
            kind = Unroutable  # of several messages, those before the unroutable one may have been stored
        for publication in self._outstanding.values():
            if isinstance(cause, ChannelNotFoundEntity):
                self._on_unroutable(publication.exchange, publication.routing_key)
            publication.end(kind(f"the channel was closed: {'by us' if cause is None else reason_of(cause)}"))
        self._outstanding.clear()
        self.idle.set()
