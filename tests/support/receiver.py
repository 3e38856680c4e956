"""A webhook receiver on a free loopback port: it records what comes, and answers each path as it is told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Literal, cast

from aiohttp import web
from multidict import CIMultiDict

FLOOD_BYTES = 100 << 20
_DROPS = bytes(1 << 16)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How to answer one request.

    Args:
        status: HTTP status.
        headers: Headers besides those of the protocol, a redirect's ``Location`` for example.
        body: The body, of any size.
        after: Seconds to wait before answering.
        until: What to wait for before answering.
        pace: Seconds to wait after every byte of the body, sent one by one.
        fate: ``hang`` never answers; ``close`` hangs up instead of answering; ``cut`` hangs up within the body;
            ``garbage`` answers what is no HTTP; ``flood`` has a body of 100 MB.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: float = 0
    until: asyncio.Event | None = None
    pace: float = 0
    fate: Literal["end", "hang", "close", "cut", "garbage", "flood"] = "end"

    @property
    def takes(self) -> bool:
        """Whether it says that the request was taken."""
        return 200 <= self.status < 300 and self.fate in {"end", "flood"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it came, *at* so many monotonic seconds, and the *answer* it gets.

    `peer` tells connections apart, `target` is not decoded.
    """

    at: float
    method: str
    target: str
    path: str
    headers: CIMultiDict[str]
    body: bytes
    peer: tuple[str, int]
    answer: Answer


class Receiver:
    """What `receiver` yields: `requests` in the order they came, and `url`."""

    mood: Answer | None = None
    """How to answer every request, whatever its path, while it is set."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.base = ""
        self.most: Counter[str] = Counter()
        """By path, how many requests were being answered at the same time, at most."""
        self._answering: Counter[str] = Counter()
        self._answers: dict[str, list[Answer]] = {}

    def url(self, path: str = "/") -> str:
        """Return the URL of *path*."""
        return self.base + path

    def answer(self, path: str, *answers: Answer) -> str:
        """Answer *path* with *answers* in turn, the last one from then on, and return its URL; else it is a 200."""
        self._answers[path] = list(answers)
        return self.url(path)

    def _next_answer(self, path: str) -> Answer:
        if self.mood is not None:
            return self.mood
        answers = self._answers.get(path, [Answer()])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        body = await request.read()
        peer = request.transport.get_extra_info("peername")[:2]
        headers = request.headers.copy()
        answer = self._next_answer(request.path)
        self.requests.append(
            Request(
                at=time.monotonic(),
                method=request.method,
                target=request.raw_path,
                path=request.path,
                headers=headers,
                body=body,
                peer=peer,
                answer=answer,
            )
        )
        self._answering[request.path] += 1
        self.most[request.path] = max(self.most[request.path], self._answering[request.path])
        try:
            return await self._answer(request, answer)
        finally:
            self._answering[request.path] -= 1

    async def _answer(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        await asyncio.sleep(answer.after)
        if answer.until is not None:
            await answer.until.wait()
        if answer.fate == "hang":
            await asyncio.Event().wait()
        assert request.transport is not None
        if answer.fate == "garbage":
            cast("asyncio.Transport", request.transport).write(b"\x00\xff what?\r\n" * 100)
            request.transport.close()
        if answer.fate == "close":
            request.transport.abort()
        if answer.fate == "flood":
            return await self._flood(request, answer)
        return await self._send(request, answer)

    async def _flood(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = FLOOD_BYTES
        await response.prepare(request)
        with suppress(ConnectionError):  # it has seen enough
            for _ in range(0, FLOOD_BYTES, len(_DROPS)):
                await response.write(_DROPS)
        return response

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        if not answer.pace and answer.fate != "cut":
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_length = len(answer.body) + (answer.fate == "cut")
        await response.prepare(request)
        for byte in answer.body:
            await response.write(bytes([byte]))
            await asyncio.sleep(answer.pace)
        if answer.fate == "cut":
            assert request.transport is not None
            request.transport.close()
        return response


@asynccontextmanager
async def receiver(*, ssl: SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver, over TLS with *ssl*, until the block is left; what hangs then is cut off."""
    receiver = Receiver()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", receiver._handle)  # noqa: SLF001
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl).start()
        host, port = runner.addresses[0][:2]
        receiver.base = f"{'https' if ssl else 'http'}://{host}:{port}"
        yield receiver
    finally:
        await runner.cleanup()
