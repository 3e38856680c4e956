"""A connection to a receiver: HTTP/1.1, one request at a time, read while it is written."""

from __future__ import annotations

import asyncio
import os
import select
import ssl
import time
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Iterator
from typing import cast

from broker.reasons import reason_of
from workers.webhooks import tcp
from workers.webhooks.answers import AnswerReader, Endless, Unreadable
from workers.webhooks.failures import Failure, Stale
from workers.webhooks.tls import least_added

_PIECE = 256 * 1024
"""How much of a request is handed to the transport at once, in bytes."""
_NOT_UNDERSTOOD = frozenset({400, 408, 414, 431, 501, 505})
"""What servers answer before they close a connection on which they found no request, or none in time."""
_GRACE = 0.1
"""For how many seconds after such an answer a used connection may still end, if the answer does not tell."""
_ROUNDS = 3
"""In how many rounds of the loop, at the most, it reads what has come."""


class Connection(asyncio.Protocol):
    """An established connection. Whatever it receives while no request is under way closes it.

    `reused` tells whether the present or last request was not its first.
    """

    def __init__(self) -> None:
        self.reused = False
        self.requests = 0
        """How many requests were sent."""
        self.on_unsolicited: Callable[[], None] = _ignore
        """Called when the receiver has sent bytes that answer no request."""
        self.closed = False
        self.kept = False
        """Whether the last answer allows another request."""
        self.sent_at = 0.0
        """When the last request was begun, by `time.perf_counter`."""
        self.heard_at: float | None = None
        """When the first byte of its answer came."""
        self.address: str | None = None
        """The receiver's address and port, if they are known."""
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._used = False
        self._reading = AnswerReader()
        self._ended: asyncio.Future[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        """What lets the exchange end although its answer may be to no request of ours."""
        self._full = False
        """Whether the transport still buffers bytes of the request; with limits of 0, it reports that."""
        self._room: asyncio.Future[None] | None = None
        """What the rest of a request waits for."""
        self._handed = 0
        """How many bytes of the request were handed to the transport."""
        self._unhanded = False
        """Whether some of the request's bytes were not yet."""
        self._useless: Failure | None = None
        """Why it cannot be used although it was established."""
        self._greeted: int | None = None
        """How many bytes a new connection had sent before its first request, all of TLS: see `_untouched`."""
        self._received: int | None = None
        """How many bytes the kernel had received when the last answer ended, or before the first request."""
        self._added = 0
        """How many bytes TLS adds to an answer, at the least."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to use *transport*, also instead of another one after TLS was begun on it."""
        self.transport = cast(asyncio.Transport, transport)
        # A transport with TLS pauses at its limit, others only beyond it.
        self.transport.set_write_buffer_limits(high=0 if self.tls is None else 1, low=0)
        self._socket: TransportSocket = transport.get_extra_info("socket")
        self._poll.register(self._socket.fileno(), select.POLLIN)
        self._used, self._received = False, None
        self._added = least_added(self._encryption)

    @property
    def _encryption(self) -> ssl.SSLObject | None:
        return cast(ssl.SSLObject | None, self.transport.get_extra_info("ssl_object"))

    @property
    def tls(self) -> str | None:
        """The version of TLS, if there is any."""
        return None if self._encryption is None else self._encryption.version()

    @property
    def usable(self) -> bool:
        """Whether another request can be sent: nothing was received since the last answer, and no end either.

        Of a record of TLS that is not complete, only the kernel's count tells.
        """
        if self.closed or self.transport.is_closing() or self._poll.poll(0):
            return False
        return self._received is None or self._received == self._count_received()

    def _count_received(self) -> int | None:
        """Return how many bytes the kernel has received; None without TLS, where `data_received` tells."""
        counts = tcp.counts(self._socket) if self._added else None
        return None if counts is None else counts.received

    @property
    def sent(self) -> bool:
        """Whether the request was completely written."""
        return not self._unhanded and not self._full

    async def exchange(self, head: bytes, body: bytes, reading: AnswerReader) -> None:
        """Send a request, and return when its answer is in *reading*: complete, or as much of it as will ever come.

        An answer that comes before its request was completely written is one at once if it is a refusal (4xx, 5xx, of
        a body that is too large for example); else only if the receiver takes the rest of the request, too. What comes
        before the receiver's kernel has any of the request is none.

        Raises:
            Stale: What came is nothing, or no answer to this request, and another connection may do better.
            Failure: There is no answer.
        """
        self.reused, self._used, self.kept = self._used, True, False
        self.requests += 1
        self._handed, self._unhanded = 0, True
        if not self.reused:
            await self._hear_out()
        if self._useless is not None:
            raise self._useless
        self.sent_at, self.heard_at = time.perf_counter(), None
        self._reading = reading
        self._ended = ended = self._loop.create_future()
        try:
            for piece in _pieces(head, body):
                if self._full:
                    self._room = self._loop.create_future()
                    await self._room
                if ended.done():
                    break
                self._handed += len(piece)
                self.transport.write(piece)
            else:
                self._unhanded = False
                self._settle()
            await ended
        finally:
            if self._grace is not None:
                self._grace.cancel()
            self._ended = self._room = self._grace = None
            if ended.done() and not ended.cancelled():
                ended.exception()  # seen, also by an exchange that was cancelled
        answer = reading.head
        self.kept = answer is not None and answer.persistent and reading.clean and self.sent and not self.closed
        if self.kept:
            self._received = self._count_received()

    async def begin_tls(self, trusted: ssl.SSLContext, server_name: str) -> None:
        """Go on with TLS, as a new connection: the receiver has to prove that it is *server_name*.

        Raises:
            OSError: The handshake failed, or the connection was lost.
        """
        if self.closed or self.transport.is_closing():
            raise ConnectionResetError
        transport = await self._loop.start_tls(self.transport, self, trusted, server_hostname=server_name)
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        self.connection_made(transport)

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read *data* of the answer."""
        if self._ended is None or self._ended.done():
            self._reject(data)
            return
        if self.heard_at is None:
            self.heard_at = time.perf_counter()
            if self.reused and (self._unacknowledged() or self._had_begun(len(data))):
                self.on_unsolicited()
                self._fail(Stale("the receiver answered before it had the whole request"))
                return
            if not self.reused and (self._untouched() or self._had_begun(len(data))):
                self._fail(_premature(data))
                return
        try:
            self._reading.feed(data)
        except Endless as error:
            self._fail(Failure(str(error)))
            return
        except Unreadable as error:
            self._fail(self._without_answer(str(error)))
            return
        if self._doubtful and self._reading.last:
            self._fail_stale()
        else:
            self._settle()

    def pause_writing(self) -> None:
        """Wait with the rest of the request."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on with the rest of the request."""
        self._full = False
        self._make_room()
        self._settle()

    def connection_lost(self, error: Exception | None) -> None:
        """End the exchange that is under way."""
        self.closed = True
        self._make_room()
        lost = f"the connection was {_end(error)} before there was an answer"
        if self._ended is None or self._ended.done():
            self._useless = self._useless or self._without_answer(lost)
            return
        if self.heard_at is None:
            self._fail(self._without_answer(lost))
            return
        if self._doubtful:
            self._fail_stale()
            return
        try:
            self._reading.close(properly=error is None)
        except Unreadable as reason:
            self._fail(Failure(str(reason)))
            return
        head = self._reading.head
        if self.sent or head is None or head.status >= 400:
            self._ended.set_result(None)
        else:
            text = f"the receiver answered {head.status}, and closed the connection before it had the whole request"
            self._fail(Failure(text))

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _settle(self) -> None:
        """End the exchange if its answer is there and counts."""
        if self._ended is None or self._ended.done() or not self._reading.ended:
            return
        head = self._reading.head
        if not self.sent and (head is None or head.status < 400):
            return
        if not self._doubtful:
            self._conclude()
        elif self._grace is None:
            self._grace = self._loop.call_later(_GRACE, self._end_grace)

    def _end_grace(self) -> None:
        """Let an answer count that is still there without an end of its connection, as far as the kernel knows."""
        if self.transport.is_closing():
            self._fail_stale()
        elif self._poll.poll(0):
            self._grace = self._loop.call_later(_GRACE, self._end_grace)  # once the loop has read it
        else:
            self._conclude()

    def _conclude(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        self._make_room()

    @property
    def _doubtful(self) -> bool:
        """Whether the answer is one of a server that found no request, if it closes the connection."""
        head = self._reading.head
        return self.reused and head is not None and head.status in _NOT_UNDERSTOOD

    def _fail_stale(self) -> None:
        status = self._reading.head.status if self._reading.head else ""
        self._fail(Stale(f"the receiver answered {status} on a connection that was used before"))

    async def _hear_out(self) -> None:
        """Let a new connection read what came before its first request, which therefore is no answer to it.

        Tickets of TLS are no such thing, so with TLS it is not enough to ask whether anything came.
        """
        for _ in range(_ROUNDS):
            if self.closed or self.usable:
                break
            await asyncio.sleep(0)
        if self.transport.is_closing():
            return
        counts, unacknowledged = tcp.counts(self._socket), tcp.unacknowledged(self._socket)
        if counts is not None and unacknowledged is not None:
            self._greeted = counts.acknowledged + unacknowledged
        self._received = self._count_received()

    def _unacknowledged(self) -> bool:
        """Return whether the receiver's kernel has not confirmed the whole request: it cannot have been read yet.

        This tells an answer from one that was on its way when the request was sent. TCP confirms with each segment what
        was received before, so the segments of an answer to the request confirm it.
        """
        return not self.sent or bool(tcp.unacknowledged(self._socket))

    def _untouched(self) -> bool:
        """Return whether the receiver's kernel has not confirmed a single byte of a new connection's request.

        It may well answer before it has the whole request, because nothing else can be meant.
        """
        if self._greeted is None:
            return False
        counts = tcp.counts(self._socket)
        return counts is not None and counts.acknowledged <= self._greeted

    def _had_begun(self, size: int) -> bool:
        """Return whether the first *size* bytes of an answer had begun to come before the request was written.

        Then the kernel has received less since than they take: the beginning of a record, of which only it knows.
        """
        received = self._count_received()
        return received is not None and self._received is not None and received - self._received < size + self._added

    def _reject(self, data: bytes) -> None:
        """Close the connection because of *data* that nothing asked for."""
        self._useless = _premature(data)
        self.on_unsolicited()
        self.abort()

    def _without_answer(self, text: str) -> Failure:
        """Return the failure of a request that has no answer: a new connection may give what a used one does not."""
        return Stale(text) if self.reused else Failure(text)

    def _fail(self, failure: Failure) -> None:
        """End the exchange without an answer."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(failure)
        self._make_room()
        self.abort()


def _ignore() -> None:
    """Do nothing."""


def _premature(data: bytes) -> Failure:
    """Return what is wrong with a receiver that sends *data* although it was not asked yet."""
    reading = AnswerReader()
    try:
        reading.feed(data)
    except Unreadable as error:
        return Failure(str(error))
    status = "" if reading.head is None else f" {reading.head.status}"
    return Failure(f"the receiver answered{status} before it received any of the request")


def _pieces(head: bytes, body: bytes) -> Iterator[bytes | memoryview]:
    first = _PIECE - len(head)
    yield head + body[:first]
    rest = memoryview(body)
    for start in range(first, len(body), _PIECE):
        yield rest[start : start + _PIECE]


def _end(error: Exception | None) -> str:
    """Return what became of a connection, as a participle."""
    match error:
        case None:
            return "closed"
        case ConnectionError():
            return "reset"
        case ssl.SSLError():
            return f"lost (TLS: {(error.reason or 'error').replace('_', ' ').lower()})"
        case OSError(errno=int(number)):
            return f"lost ({os.strerror(number).lower()})"
        case _:
            return f"lost ({reason_of(error)})"
