"""What a pooler in transaction mode makes of notifications: it passes everything on, except those.

As PgBouncer, it refuses sessions that begin with parameters that it does not keep track of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

_NOTIFICATION = b"A"
_TRACKED = {
    "user",
    "database",
    "application_name",
    "client_encoding",
    "datestyle",
    "standard_conforming_strings",
    "timezone",
}


@asynccontextmanager
async def deaf_pooler(store_url: str) -> AsyncIterator[str]:
    """Yield a URL that leads to the PostgreSQL at *store_url*; who listens there is told of no NOTIFY."""
    target = URL(store_url)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readexactly(8)
            parameters = await reader.readexactly(int.from_bytes(head[:4]) - 8)
            if not {name.decode().lower() for name in parameters.rstrip(b"\0").split(b"\0")[::2]} <= _TRACKED:
                writer.close()
                return
            answers, requests = await _connect(target)
            requests.write(head + parameters)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pass_requests(reader, requests))
                    group.create_task(_pass_answers(answers, writer))
            except* (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                requests.close()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{target.scheme}://{target.user}:{target.password or ''}@127.0.0.1:{port}{target.path}?sslmode=disable"
    finally:
        server.close()


async def _connect(target: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    directory = target.query.get("host")
    if directory is not None:
        return await asyncio.open_unix_connection(f"{directory}/.s.PGSQL.{target.port or 5432}")
    return await asyncio.open_connection(target.host, target.port or 5432)


async def _pass_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _pass_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on the server's messages: a byte that says what it is, the length in four, and the rest."""
    while True:
        head = await reader.readexactly(5)
        rest = await reader.readexactly(int.from_bytes(head[1:]) - 4)
        if head[:1] != _NOTIFICATION:
            writer.write(head + rest)
            await writer.drain()
