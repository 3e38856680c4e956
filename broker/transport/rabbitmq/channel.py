"""An AMQP channel that writes once per tick of the event loop, and tells when it has to be replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiormq import Connection  # noqa: TID251
from aiormq.abc import ChannelFrame  # noqa: TID251
from aiormq.channel import Channel as PlainChannel  # noqa: TID251

FULL_QUEUE_PAUSE = 0.001


class Channel(PlainChannel):
    """A channel; `spent` is set once it is closed or has to be replaced."""

    def __init__(self, connection: Connection, number: int, *, confirms: bool = False) -> None:
        super().__init__(connection, number, publisher_confirms=confirms)
        self.spent = asyncio.Event()
        self._unwritten = bytearray()
        self.closing.add_done_callback(self._on_closed)

    def write(self, frames: Iterable[bytes]) -> None:
        """Send *frames* together with all others of this tick."""
        if not self._unwritten:
            self.loop.call_soon(self._flush)
        for frame in frames:
            self._unwritten += frame

    def _flush(self) -> None:
        if self.is_closed:
            return
        try:
            self.write_queue.put_nowait(ChannelFrame(payload=bytes(self._unwritten), should_close=False))
        except asyncio.QueueFull:  # aiormq's queue to the socket holds ten items, of all channels together
            self.loop.call_later(FULL_QUEUE_PAUSE, self._flush)
        else:
            self._unwritten.clear()

    def _on_closed(self, closing: asyncio.Future[object]) -> None:  # noqa: ARG002
        self.spent.set()
