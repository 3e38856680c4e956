"""An HTTP proxy on a free loopback port: it records what it is asked for, and does it without asking why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from yarl import URL


@dataclass
class Proxy:
    """What `http_proxy` yields.

    Args:
        hosts: Names that it knows, with their addresses.
        asked: The heads of the requests that came, in order.
        refusal: The status line it answers everything with, if there is one.
        url: Where it listens.
    """

    hosts: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refusal: str | None = None
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Treat one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.decode())
            if self.refusal is not None:
                writer.write(f"HTTP/1.1 {self.refusal}\r\ncontent-length: 0\r\n\r\n".encode())
            else:
                await self._pass_on(head, reader, writer)
        writer.close()

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.decode().split(" ", 2)
        url = URL(f"//{target}" if method == "CONNECT" else target)
        upstream, downstream = await asyncio.open_connection(self.hosts.get(url.host, url.host), url.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            downstream.write(head)
        pumps = [asyncio.create_task(_pump(reader, downstream)), asyncio.create_task(_pump(upstream, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        downstream.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def http_proxy() -> AsyncIterator[Proxy]:
    """Run a proxy until the block is left."""
    proxy = Proxy()
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        proxy.url = f"http://{host}:{port}"
        yield proxy
