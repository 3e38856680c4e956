"""A link to PostgreSQL or RabbitMQ that a test can cut, stall and restore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

TO_SERVER, TO_CLIENT = "to server", "to client"


class Link:
    """What `proxy` yields: `url` leads through it."""

    def __init__(self, target: str) -> None:
        self._target = URL(target)
        self._whole = True
        self._flows = {TO_SERVER: asyncio.Event(), TO_CLIENT: asyncio.Event()}
        self.restore()
        self._open: set[asyncio.StreamWriter] = set()
        self.url = ""

    async def start(self) -> asyncio.Server:
        """Listen on a free loopback port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.url = str(
            URL.build(
                scheme=self._target.scheme,
                user=self._target.user,
                password=self._target.password,
                host=host,
                port=port,
                path=self._target.path,
            )
        )
        return server

    def cut(self) -> None:
        """Break every connection, and each new one at once."""
        self._whole = False
        for writer in self._open:
            writer.transport.abort()

    def stall(self, *directions: str) -> None:
        """Let nothing through in these directions, of no connection, and break none."""
        for direction in directions:
            self._flows[direction].clear()

    def restore(self) -> None:
        """Let new connections through again, and everything that was stalled."""
        self._whole = True
        for flows in self._flows.values():
            flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        upstream, downstream = await self._connect()
        ends = {writer, downstream}
        self._open |= ends
        with suppress(ConnectionError):
            await asyncio.wait(
                [
                    asyncio.create_task(_pump(reader, downstream, self._flows[TO_SERVER])),
                    asyncio.create_task(_pump(upstream, writer, self._flows[TO_CLIENT])),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        self._open -= ends
        for end in ends:
            end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        directory = self._target.query.get("host")
        if directory is not None:
            return await asyncio.open_unix_connection(f"{directory}/.s.PGSQL.{self._target.port or 5432}")
        return await asyncio.open_connection(self._target.host, self._target.port)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            await flows.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[Link]:
    """Yield a link to the server at the URL *target*."""
    link = Link(target)
    server = await link.start()
    try:
        yield link
    finally:
        server.close()
        link.cut()
