"""AMQP channels that write once per tick of the event loop, all together, and tell when they have to be replaced."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

from aiormq import Connection  # noqa: TID251
from aiormq.abc import ChannelFrame, FrameType  # noqa: TID251
from aiormq.channel import Channel as PlainChannel  # noqa: TID251
from pamqp import commands as spec
from pamqp.frame import marshal

FULL_QUEUE_PAUSE = 0.001


class Channel(PlainChannel):
    """A channel; `spent` is set once it is closed or has to be replaced."""

    def __init__(self, connection: Connection, number: int, *, confirms: bool = False) -> None:
        super().__init__(connection, number, publisher_confirms=confirms)
        self.spent = asyncio.Event()
        self._leaving = False
        outbox = _outboxes.get(connection)
        if outbox is None:
            outbox = _outboxes[connection] = Outbox(self.loop, self.write_queue)
        self._outbox = outbox
        self.closing.add_done_callback(self._on_closed)

    def write(self, frames: Iterable[bytes]) -> None:
        """Send *frames* together with all others of this tick."""
        self._outbox.add(self, frames)

    async def _on_close(self, exc: object = None) -> None:  # noqa: ARG002
        """Ask the server to close the channel, once; return when it has, or when it cannot.

        RabbitMQ closes the whole connection for a second question, once it has answered the first. `rpc` asks again if
        the answer takes long, or if its caller does not wait for it.
        """
        closed: asyncio.Event = self._Channel__close_event  # type: ignore[attr-defined]
        if closed.is_set() or self._leaving or not self.connection.is_opened:
            return
        self._leaving = True
        # Behind the acks of this tick.
        self.write([marshal(spec.Channel.Close(reply_code=200, class_id=0, method_id=0), self.number)])
        await closed.wait()

    def _on_closed(self, closing: asyncio.Future[object]) -> None:  # noqa: ARG002
        self.spent.set()


class Passing(asyncio.Queue[tuple[int, FrameType]]):
    """The frames that the connection hands to a channel; some pass by the queue, and by the task that reads it.

    Args:
        take: Takes a frame at once, and returns whether it has. None of those before it is in the queue then.
        queue: What this is instead of.
    """

    def __init__(self, take: Callable[[FrameType], bool], queue: asyncio.Queue[tuple[int, FrameType]]) -> None:
        super().__init__(queue.maxsize)
        self._take = take

    async def put(self, item: tuple[int, FrameType]) -> None:
        """Hand over a frame."""
        if not self.empty() or not self._take(item[1]):
            await super().put(item)


class Outbox:
    """What the channels of one connection write in a tick."""

    def __init__(self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[ChannelFrame]) -> None:
        self._loop = loop
        self._queue = queue
        self._unwritten: dict[Channel, list[bytes]] = {}

    def add(self, channel: Channel, frames: Iterable[bytes]) -> None:
        """Write *frames* at the end of this tick, unless *channel* is closed by then."""
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        written = self._unwritten.get(channel)
        if written is None:
            self._unwritten[channel] = written = []
        written += frames

    def _flush(self) -> None:
        # Channel by channel, which spares RabbitMQ changes between them and confirms one by one.
        payload = b"".join(
            itertools.chain.from_iterable(
                frames for channel, frames in self._unwritten.items() if not channel.is_closed
            )
        )
        if not payload:
            self._unwritten.clear()
            return
        try:
            self._queue.put_nowait(ChannelFrame(payload=payload, should_close=False))
        except asyncio.QueueFull:  # aiormq's queue to the socket holds ten items
            self._loop.call_later(FULL_QUEUE_PAUSE, self._flush)
        else:
            self._unwritten.clear()


_outboxes: WeakKeyDictionary[Connection, Outbox] = WeakKeyDictionary()
