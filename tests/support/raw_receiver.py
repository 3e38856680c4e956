"""A receiver on a free loopback port that does byte for byte what a test tells it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_GONE = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)


class Peer:
    """One connection, the *number*-th of its receiver, from 1."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heads: list[str]
    ) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer
        self._heads = heads

    async def head(self) -> str:
        """Wait for a request and return its head; its body is not read.

        Raises:
            ConnectionError: The client closed the connection.
        """
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError from error
        self._heads.append(head)
        return head

    async def request(self) -> bytes:
        """Wait for a request and return its body."""
        head = (await self.head()).lower()
        return await self._reader.readexactly(int(head.partition("content-length:")[2].split()[0]))

    async def line(self) -> bytes:
        """Read a line, or what there is of it."""
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def read(self, size: int) -> None:
        """Read *size* bytes."""
        await self._reader.readexactly(size)

    def greet(self, *pieces: bytes) -> None:
        """Send *pieces*, at once if the script has not waited for anything."""
        self._writer.write(b"".join(pieces))

    async def send(self, *pieces: bytes, pause: float = 0) -> None:
        """Send *pieces*, each *pause* seconds after the one before, as far as the client takes them."""
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(pause)
            self._writer.write(piece)
            await self._writer.drain()

    async def wait_lost(self) -> None:
        """Wait until the client closed the connection."""
        while await self._reader.read(1 << 16):
            pass

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self._writer.write_eof()

    def close(self) -> None:
        """Close the connection; the client finds its end, or a reset if it sent what was not read."""
        self._writer.close()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class RawReceiver:
    """What `raw_receiver` yields: the `heads` of the requests that came, in order, and its connections."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.peers: list[Peer] = []
        self.base = ""

    @property
    def targets(self) -> list[str]:
        """What was asked for, in order."""
        return [head.split(" ")[1] for head in self.heads]


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def raw_receiver(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawReceiver]:
    """Run a receiver that treats each connection as *script* says, and then closes it.

    *script* is called as soon as there is the connection; what it returns is awaited in a task.
    """
    receiver, tasks = RawReceiver(), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(receiver.peers) + 1, reader, writer, receiver.heads)
        receiver.peers.append(peer)
        task = asyncio.create_task(serve(script(peer), writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def serve(serving: Awaitable[None], writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(*_GONE):
                await serving
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    host, port = server.sockets[0].getsockname()
    receiver.base = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
