"""An HTTP load that costs little itself: raw requests over many connections, counted by their status lines."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Answers:
    """What came back: answers by their status, and how long each took (seconds)."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers with a 2xx per second."""
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300) / self.elapsed

    def percentile(self, share: float) -> float:
        """Seconds within which *share* of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is complete."""

    def __init__(self, request: bytes, answers: Answers, until: float, done: asyncio.Future[None]) -> None:
        self._request, self._answers, self._until, self._done = request, answers, until, done
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        if self._sent > self._until:
            self._transport.close()
        else:
            self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        status = int(head[9:12])
        self._answers.statuses[status] = self._answers.statuses.get(status, 0) + 1
        self._answers.seconds.append(time.perf_counter() - self._sent)
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def post(url: str, body: bytes, *, token: str = "", connections: int = 64, seconds: float = 4) -> Answers:
    """Post *body* to *url* over *connections* connections for some *seconds*, one request at a time on each."""
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Authorization: Bearer {token}"] if token else []),
    ]
    request = "\r\n".join([*lines, "", ""]).encode() + body
    loop, answers = asyncio.get_running_loop(), Answers()
    start = time.perf_counter()
    done = [loop.create_future() for _ in range(connections)]
    for future in done:
        await loop.create_connection(
            lambda future=future: _Connection(request, answers, start + seconds, future), parts.hostname, parts.port
        )
    await asyncio.gather(*done)
    answers.elapsed = time.perf_counter() - start
    return answers
