"""A TCP balancer, as in front of gateways: it knows nothing of HTTP, and takes the next one that accepts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from yarl import URL


@asynccontextmanager
async def balancer(urls: Sequence[str], *, latency: float = 0) -> AsyncIterator[str]:
    """Yield the URL that leads to each of *urls* in turn, one connection after the other.

    What callers send arrives *latency* seconds later.
    """
    turns = itertools.count()
    open_connections: set[asyncio.StreamWriter] = set()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = next(turns)
        for number in range(len(urls)):
            url = URL(urls[(first + number) % len(urls)])
            with suppress(ConnectionError):
                return await asyncio.open_connection(url.host, url.port)
        raise ConnectionRefusedError

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float = 0) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                await asyncio.sleep(delay)
                writer.write(data)
                await writer.drain()
        with suppress(ConnectionError):
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        try:
            upstream_reader, upstream_writer = await connect()
        except ConnectionError:
            writer.transport.abort()
            return
        open_connections.add(upstream_writer)
        await asyncio.gather(pump(reader, upstream_writer, latency), pump(upstream_reader, writer))
        open_connections.difference_update((writer, upstream_writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for writer in open_connections:
            writer.transport.abort()
