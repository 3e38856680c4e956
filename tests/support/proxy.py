"""A link that a test can cut, stall and slow down: every connection to a server goes through us."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from yarl import URL

_AT_ONCE = 1 << 16


class Link:
    """What `proxy` yields: `url` leads through it.

    Args:
        target: URL of a PostgreSQL, or of a RabbitMQ.
    """

    def __init__(self, target: str) -> None:
        self._target = URL(target)
        self._whole = True
        self._open: set[asyncio.StreamWriter] = set()
        self._passing = {"requests": asyncio.Event(), "answers": asyncio.Event()}
        self._pause = 0.0
        self._address = socket.create_server(("127.0.0.1", 0))
        self._server: asyncio.Server | None = None
        self.host, self.port = self._address.getsockname()[:2]
        self.url = str(
            URL.build(
                scheme=self._target.scheme,
                user=self._target.user,
                password=self._target.password,
                host=self.host,
                port=self.port,
                path=self._target.path,
            )
        )

    async def __aenter__(self) -> Self:
        self.restore()
        self._server = await asyncio.start_server(self._accept, sock=self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    @property
    def connections(self) -> int:
        """How many connections go through it."""
        return len(self._open) // 2

    def reset(self) -> None:
        """Break every connection; new ones are let through."""
        for writer in self._open:
            writer.transport.abort()

    def cut(self) -> None:
        """Break every connection, and each new one at once."""
        self._whole = False
        self.reset()

    async def refuse(self) -> None:
        """Break every connection, and listen no more until `listen`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    async def listen(self) -> None:
        """Listen again, on the same port."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)

    def stall(self, *, requests: bool = True, answers: bool = True) -> None:
        """Pass nothing on to the server, or to its clients, or neither; the connections stay."""
        for direction, stalled in (("requests", requests), ("answers", answers)):
            if stalled:
                self._passing[direction].clear()

    def slow_down(self, pause: float) -> None:
        """Keep what comes for *pause* seconds, 64 KiB at a time, before it is passed on."""
        self._pause = pause

    def restore(self) -> None:
        """Let everything through again."""
        self._whole = True
        self._pause = 0.0
        for passing in self._passing.values():
            passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            with suppress(OSError):
                upstream, downstream = await self._connect()
                self._open.add(downstream)
                try:
                    await self._pass_on((reader, downstream), (upstream, writer))
                finally:
                    self._open.discard(downstream)
                    downstream.transport.abort()
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        """Pass bytes on in both directions until one of them ends."""
        pumps = [
            asyncio.create_task(self._pump(*way, passing))
            for way, passing in zip(ways, self._passing.values(), strict=True)
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(_AT_ONCE):
                await passing.wait()
                if self._pause:
                    await asyncio.sleep(self._pause)
                writer.write(data)
                await writer.drain()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        directory = self._target.query.get("host")
        if directory is not None:
            return await asyncio.open_unix_connection(f"{directory}/.s.PGSQL.{self._target.port or 5432}")
        return await asyncio.open_connection(self._target.host, self._target.port or 5432)


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[Link]:
    """Yield a link to the server at the URL *target*."""
    async with Link(target) as link:
        yield link
