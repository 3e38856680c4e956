"""A webhook receiver that costs little itself: it answers 204 at once, or never, and notes when what came."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_ID = re.compile(rb"webhook-id: ?(\d+)-(\d+)", re.IGNORECASE)
_LENGTH = re.compile(rb"content-length: ?(\d+)", re.IGNORECASE)
_DUE = re.compile(rb'"due": *([0-9.]+)')
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_REFUSAL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


class Receiver:
    """What `receiving` yields.

    Args:
        answers: Whether it answers.
        refused_every: It refuses one request of so many; 0: none.
    """

    def __init__(self, *, answers: bool, refused_every: int) -> None:
        self.answers = answers
        self._refused_every = refused_every
        self.url = ""
        self.taken: dict[tuple[int, int], float] = {}
        """When (seconds) each delivery first came, by signal and subscription."""
        self.requests = 0
        """How many came, repeats included."""
        self.last = 0.0
        """When (seconds) the last one came."""
        self.latencies: list[float] = []
        """How long (seconds) after it was due each request came, if it tells that."""

    @property
    def answer(self) -> bytes:
        """The answer to the request that was noted last."""
        return _REFUSAL if self._refused_every and self.requests % self._refused_every == 0 else _ANSWER

    def note(self, request: bytes, end: int) -> None:
        """Note a request whose head has its *end* there."""
        self.requests += 1
        self.last = time.time()
        if found := _ID.search(request, 0, end):
            self.taken.setdefault((int(found[1]), int(found[2])), self.last)
        if found := _DUE.search(request, end):
            self.latencies.append(self.last - float(found[1]))


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            self._receiver.note(self._buffer[:size], end)
            self._buffer = self._buffer[size:]
            if self._receiver.answers:
                self._transport.write(self._receiver.answer)  # type: ignore[attr-defined]


@asynccontextmanager
async def receiving(*, answers: bool = True, refused_every: int = 0) -> AsyncIterator[Receiver]:
    """Run a receiver on a free loopback port until the block is left."""
    receiver = Receiver(answers=answers, refused_every=refused_every)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(receiver), "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield receiver
    finally:
        server.close()
