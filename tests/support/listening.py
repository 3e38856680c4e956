"""Commands that follow signals, and the product as far as they know it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.commands import Command
from tests.support.eventually import eventually
from tests.support.remote import Laptop


class Listening:
    """A running command, what it has printed and what it has told the person at the terminal."""

    def __init__(self, command: Command, out: Path, err: Path) -> None:
        self.command = command
        self._out = out
        self._err = err

    @property
    def lines(self) -> list[str]:
        """The whole lines that it has printed."""
        return self._out.read_text().split("\n")[:-1]

    @property
    def documents(self) -> list[Any]:
        """What it has printed with ``--json``."""
        return [json.loads(line) for line in self.lines]

    @property
    def ids(self) -> list[int]:
        """The ids of the signals among them."""
        return [document["id"] for document in self.documents if "id" in document]

    @property
    def told(self) -> str:
        """What it has written to standard error."""
        return self._err.read_text()

    async def interrupt(self) -> int:
        """Press Ctrl-C, and return the exit status."""
        self.command.send_signal(signal.SIGINT)
        return await self.command.wait()


@asynccontextmanager
async def listening(laptop: Laptop, *arguments: str, **variables: str) -> AsyncIterator[Listening]:
    """Run a command until the context is left."""
    out, err = laptop.home / "listening.out", laptop.home / "listening.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        environment = {**laptop.environment, **variables}
        command = Command(*arguments, environment=environment, stdout=stdout.fileno(), stderr=stderr.fileno())
    try:
        yield Listening(command, out, err)
    finally:
        command.send_signal(signal.SIGKILL)
        await command.wait()


class Script:
    """Answers requests for the tail, one after the other, as a test says; for `other_server`.

    Attributes:
        resumed: The `Last-Event-ID` of each request so far.
    """

    def __init__(self, *answers: Sequence[bytes] | web.Response) -> None:
        self.resumed: list[str | None] = []
        self._answers = answers

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with the next response, or with the pieces of one that are events, of which the last does not end."""
        number = len(self.resumed)
        self.resumed.append(request.headers.get("Last-Event-ID"))
        answer = self._answers[number]
        if isinstance(answer, web.Response):
            return answer
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.force_close()
        await response.prepare(request)
        for piece in answer:
            await response.write(piece)
            await asyncio.sleep(0.01)
        if number == len(self._answers) - 1:
            await eventually(lambda: request.transport is None or request.transport.is_closing(), within=60)
        return response


def event(signal_id: int, name: str = "a") -> bytes:
    """Return a signal as the tail tells it."""
    document = {"id": signal_id, "name": name, "createdAt": "2026-11-22T10:00:00Z", "scope": "broadcast"}
    whole = {**document, "tenantId": None, "executionId": None, "payload": {"n": 1.5}, "variables": {}}
    return b"id: %d\ndata: %b\n\n" % (signal_id, json.dumps(whole).encode())


async def steadily(throw: Callable[[], Any], stop: asyncio.Event) -> list[int]:
    """Throw signals until *stop* is set; return their ids, once each is accepted."""
    thrown = []
    while not stop.is_set():
        thrown.append((await throw())["id"])
    return thrown
