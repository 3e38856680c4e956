"""A load over HTTP by a process of its own: in a closed loop by wrk, where it is installed, else by ours.

Ours costs little: raw requests over connections that stay open, counted by their status lines. In an open loop
requests are due at a fixed rate, whatever becomes of those before, and a latency counts from when its request was due.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import shutil
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

import uvloop

from tests.bench.pacing import at_rate
from tests.bench.programs import run, run_json, write_json

CONNECTIONS = 64
WRK = shutil.which("wrk")
DUE = b"%17.6f" % 0
"""Where a body has this, the moment (seconds since 1970) at which the request was due is sent instead."""
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(kw_only=True)
class Answers:
    """What came back.

    Args:
        answered: How many requests were answered with a 2xx.
        failed: How many were answered with something else, or not at all.
        elapsed: How long the load took, in seconds.
        used: CPU time of the load itself, in seconds.
        latencies: How long each answer took after its request was due, in seconds; of an open loop only.
        bodies: The answers themselves, if they were to be kept.
    """

    answered: int = 0
    failed: int = 0
    elapsed: float = 0.0
    used: float = 0.0
    latencies: list[float] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answers with a 2xx per second."""
        return self.answered / self.elapsed

    @property
    def ceiling(self) -> float:
        """Answers per second that the load itself could have taken, with one core of its own."""
        return self.answered / self.used


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is posted.

    Args:
        url: Where to.
        body: JSON.
        token: The bearer's; empty: none.
        seconds: For how long.
        connections: Over how many connections.
        rate: Requests per second of an open loop; None: a closed loop, each connection sends after its last answer.
        keep: Whether the answers' bodies are kept.
    """

    url: str
    body: str
    token: str = ""
    seconds: float
    connections: int = CONNECTIONS
    rate: float | None = None
    keep: bool = False

    @property
    def request(self) -> bytes:
        """The request as it is sent."""
        parts, body = urlsplit(self.url), self.body.encode()
        lines = [
            f"POST {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([f"Authorization: Bearer {self.token}"] if self.token else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


def tool(seconds: float) -> str:
    """Return what a closed loop of that length is made with; wrk counts in whole seconds."""
    return "wrk" if WRK and seconds >= 1 else "our own"


async def post(order: Order) -> Answers:
    """Post as ordered, from another process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if order.rate is None and not order.keep and tool(order.seconds) == "wrk":
        answers = await _wrk(order)
    else:
        answers = Answers(**await run_json("tests.bench.load", asdict(order)))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return replace(answers, used=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


async def _wrk(order: Order) -> Answers:
    with NamedTemporaryFile("w", suffix=".json") as body:
        body.write(order.body)
        body.flush()
        options = ["--threads", "1", "--connections", str(order.connections), "--duration", f"{round(order.seconds)}s"]
        script = ["--script", str(Path(__file__).with_name("post.lua")), order.url, "--", body.name, order.token]
        printed = await run(str(WRK), *options, *filter(None, script))
    return Answers(**json.loads(printed.splitlines()[-1]))


class _Load:
    """The loop itself; `send` is called for what is due."""

    def __init__(self, order: Order) -> None:
        self.order, self.request = order, order.request
        self.answers = Answers()
        self.connections: list[_Connection] = []
        self.idle: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self._until = 0.0
        self._all_sent = False
        self._settled = asyncio.Event()

    async def run(self) -> Answers:
        """Send until the time is over, and wait for every answer."""
        loop, parts = asyncio.get_running_loop(), urlsplit(self.order.url)
        assert parts.hostname is not None
        assert parts.port is not None
        for _ in range(self.order.connections):
            await loop.create_connection(lambda: _Connection(self), parts.hostname, parts.port)
        start = time.time()
        self._until = start + self.order.seconds
        if self.order.rate is None:
            for _ in self.connections:
                self.send(start)
        else:
            await at_rate(self.order.rate, self.order.seconds, self.send)
        self._all_sent = True
        self._look()
        await self._settled.wait()
        self.answers.elapsed = time.time() - start
        return self.answers

    def send(self, due: float) -> None:
        """Send the request that was due at that moment, on the first connection that is free."""
        if self.idle:
            self.idle.pop().send(due)
        else:
            self._waiting.append(due)

    def note(self, connection: _Connection, status: int, body: bytes) -> None:
        """Note an answer, and let its connection go on."""
        now = time.time()
        if 200 <= status < 300:
            self.answers.answered += 1
        else:
            self.answers.failed += 1
        if self.order.rate is not None:
            self.answers.latencies.append(now - connection.due)
        if self.order.keep:
            self.answers.bodies.append(body.decode())
        if self._waiting:
            connection.send(self._waiting.popleft())
        elif self.order.rate is None and now < self._until:
            connection.send(now)
        else:
            self.idle.append(connection)
            self._look()

    def lose(self, connection: _Connection) -> None:
        """Note that the server closed a connection; a request on it was not answered."""
        self.connections.remove(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        else:
            self.answers.failed += 1
        self._look()

    def _look(self) -> None:
        """Note whether all is sent and answered."""
        if self._all_sent and len(self.idle) == len(self.connections):
            self._settled.set()


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._load.connections.append(self)
        self._load.idle.append(self)

    def send(self, due: float) -> None:
        self.due = due
        self._transport.write(self._load.request.replace(DUE, b"%17.6f" % due))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and len(rest) >= (size := int(length[1]) if length else 0):
            self._buffer = rest[size:]
            self._load.note(self, int(head[9:12]), rest[:size])

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lose(self)


if __name__ == "__main__":
    write_json(asdict(uvloop.run(_Load(Order(**json.load(sys.stdin))).run())))
