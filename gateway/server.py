"""The HTTP server: aiohttp's, with bounds for what a connection may take, and answers of its own.

A request that aiohttp's parser refuses is answered in its dialect's form, as far as its path is known. And ``100
Continue`` is sent when the body is about to be read (`gateway.bodies`), not before the request is looked at: a caller
that waits for it is told at once that its credentials are wrong or its body is too large.

An answer that comes before the body has arrived ends the connection: what is not wanted is not received.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from aiohttp.web_urldispatcher import AbstractRoute
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.connections import Connections, Wait
from gateway.continuing import EXPECTATION
from gateway.dialects import Dialect, dialect_of
from gateway.heads import SPOKEN, check_head, unknown_coding
from gateway.http_errors import BadRequest, Busy, HeadersTooLarge, HttpError, TooSlow, UriTooLong
from gateway.lines import RequestLines
from gateway.measures import ROUTES, RequestTimes
from gateway.probes import PROBES
from gateway.refusals import note_refusal
from gateway.routes import Route

_LONGEST_HEAD = 1 << 16
_LONGEST_LINE = 8190
_LINGER = 2.0
"""Seconds until a caller that was refused its body has to have closed the connection."""
_LINGER_BYTES = 1 << 18
"""How much of such a body is received: callers that send it all before they read the answer have one of that size."""
_HURRY = 0.1
"""Seconds for the requests under way at the end of a runner that is to hurry. Aiohttp takes 0 for no limit."""
_REQUEST_LINE = re.compile(rb"\b[A-Z]{3,16} (\S++)(?: HTTP/1\.[01]\r?\n|\Z)")
_PATH = re.compile(r"(?:https?://[^/?#]*)?(/[^?#]*)", re.IGNORECASE)

Handler = Callable[[Any], Awaitable[web.StreamResponse]]
Note = Callable[["_Request", int], None]
"""Called with a request and the status of its answer, as that begins."""


class Runner(web.AppRunner):
    """Runs an application whose paths belong to *dialects*; *options* are those of `aiohttp.web.AppRunner`.

    Its *connections* are the server's own; their bounds are the default ones if there are none.
    """

    def __init__(
        self,
        app: web.Application,
        dialects: Sequence[Dialect],
        connections: Connections | None = None,
        **options: Any,
    ) -> None:
        super().__init__(app, lingering_time=0, **options)
        self._dialects = dialects
        self._connections = connections or Connections()
        self._note = _noting(app)

    def hurry(self) -> None:
        """Let `cleanup` cancel the requests that are under way."""
        self._shutdown_timeout = _HURRY

    async def cleanup(self) -> None:
        """End the server once the requests under way are answered, within the time for that; hurry if cancelled."""
        try:
            await super().cleanup()
        except asyncio.CancelledError:
            self.hurry()
            await super().cleanup()
            raise

    async def _make_server(self) -> web.Server:
        plain: Any = await super()._make_server()
        return _Server(
            self._dialects,
            self._connections,
            self._note,
            _checking(plain.request_handler, self._dialects, self._connections),
            request_factory=partial(plain.request_factory, _cls=_Request),
            **self._kwargs,
        )


class _Server(web.Server):
    def __init__(
        self,
        dialects: Sequence[Dialect],
        connections: Connections,
        note: Note,
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._own = dialects, connections, note

    def __call__(self) -> RequestHandler:
        return _Connection(*self._own, self, loop=self._loop, **self._kwargs)


def _noting(app: web.Application) -> Note:
    """Return what times the requests to *app*, and logs those that have a line."""
    routes: dict[AbstractRoute, Route] = app.get(ROUTES, {})
    times = RequestTimes(routes)
    lines = RequestLines(app, times)

    def note(request: _Request, status: int) -> None:
        route, seconds = request.route, time.perf_counter() - request.began
        times.note(request.method, route, status, seconds)
        lines.note(request, route, status, seconds)

    return note


def _checking(handle: Handler, dialects: Sequence[Dialect], connections: Connections) -> Handler:
    """Return *handle*, for requests that may be answered at all."""

    async def handler(request: _Request) -> web.StreamResponse:
        connection, probes = cast("_Connection", request.protocol), request.path in PROBES
        connections.count(connection, of_caller=not probes)
        try:
            check_head(request.head)
            if not connections.has_place(connection) and not probes:
                raise Busy("There are too many connections; try again in a moment.")
        except HttpError as error:
            note_refusal(request, error)
            response = dialect_of(request.path, dialects).answer_error(error, request)
            response.force_close()
            return response
        return await handle(request)

    return handler


class _Request(web.Request):
    """A request, without the header ``Expect``, on which aiohttp would act at once."""

    ATTRS = web.Request.ATTRS | {"head", "began"}

    def __init__(self, message: RawRequestMessage, *arguments: Any, **options: Any) -> None:
        self.began = time.perf_counter()
        self.head = message
        """The head as it was received."""
        expectation = message.headers.get(hdrs.EXPECT)
        if expectation is not None:
            headers = CIMultiDict(message.headers)
            del headers[hdrs.EXPECT]
            message = message._replace(headers=CIMultiDictProxy(headers))
        if message.version not in SPOKEN:
            message = message._replace(version=HttpVersion11)  # the answer has it, too
        super().__init__(message, *arguments, **options)
        if expectation is not None:
            self[EXPECTATION] = expectation.lower()

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Complete the headers of any answer, those of the parser's errors included."""
        headers = response.headers
        headers[hdrs.SERVER] = "signal-broker"
        headers["X-Content-Type-Options"] = "nosniff"
        headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        if not self.content.is_eof() or cast("_Connection", self.protocol).leaving:
            response.force_close()
            headers[hdrs.CONNECTION] = "close"
        await super()._prepare_hook(response)
        cast("_Connection", self.protocol).note(self, response.status)

    @property
    def route(self) -> AbstractRoute | None:
        """The route that it found, if there is one."""
        found = self._match_info
        return None if found is None or found.http_exception is not None else found.route


class _Refused(HttpProcessingError):
    """Stands for a request that the connection refuses, with the error that says why."""

    def __init__(self, error: HttpError) -> None:
        super().__init__(code=error.status, message=error.detail)
        self.error = error


class _Connection(RequestHandler):
    """One connection; it remembers the head that is being received, to find in it what the parser did not get to."""

    def __init__(
        self,
        dialects: Sequence[Dialect],
        connections: Connections,
        note: Note,
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.note = note
        self.wait: Wait | None = None
        self.in_reserve = False
        self.of_caller = False
        self.held = 0
        self._dialects = dialects
        self._connections = connections
        self._socket: asyncio.Transport | None = None
        """The transport, also while it is being closed; aiohttp forgets it then."""
        self._lingering: asyncio.Timeout | None = None
        self._head = b""

    @property
    def leaving(self) -> bool:
        """Whether this answer is to be its last one."""
        return self._connections.leaving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.Transport", transport)
        if not self._connections.admit(self):
            self.abort()
            return
        super().connection_made(transport)
        self._connections.let_wait(self, Wait.HEAD)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._socket = None
        self._connections.forget(self)
        if self._lingering is not None:
            self._lingering.reschedule(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data:  # aiohttp passes on nothing, too, when it goes on reading
            self._head = (self._head + data)[:_LONGEST_HEAD] if self.wait is Wait.HEAD else data[:_LONGEST_HEAD]
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._connections.resume(self)
        elif data and self.wait is Wait.IDLE:
            self._connections.let_wait(self, Wait.HEAD)
        elif self.wait is Wait.HEAD:
            if len(self._head) == _LONGEST_HEAD:
                self._refuse(HeadersTooLarge(f"The headers have more than {_LONGEST_HEAD} bytes."))
            elif not self._connections.hold(self, len(self._head)):
                self._refuse(Busy("Too many large headers are arriving; try again in a moment."))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.wait is None:
            self._connections.let_wait(self, Wait.UNREAD)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.wait is Wait.UNREAD:
            self._connections.resume(self)

    async def _drain_helper(self) -> None:
        """Wait until the caller has read what was written.

        The error that says that it has gone leads to its own frame otherwise, a cycle that keeps the whole answer.
        """
        try:
            await super()._drain_helper()
        except ConnectionError as error:
            raise error.with_traceback(None) from None

    def give_up(self, wait: Wait) -> None:
        """End it: a caller that has begun a request is told."""
        if wait is Wait.HEAD and self._head:
            self._refuse(TooSlow("The request's headers did not arrive in time."))
        else:
            self.abort()

    def abort(self) -> None:
        """End it at once."""
        if self._socket is not None:
            self._socket.abort()

    def _refuse(self, error: HttpError) -> None:
        """Answer *error* instead of the request whose head is being received, and close."""
        self._connections.resume(self)
        if self._waiter is None or self._waiter.done():
            self.abort()
            return
        self._messages.append((_ErrInfo(error.status, _Refused(error), error.detail), EMPTY_PAYLOAD))
        self._waiter.set_result(None)
        self._close = True

    async def start(self) -> None:
        try:
            await super().start()
        finally:
            if self._socket is not None:
                self._connections.let_wait(self, Wait.ENDING)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer *request*. If its body is outstanding, the connection ends with that, and the caller is told at once.

        The answer stays in memory until the next request comes, which may be never; its body does not.
        """
        answered = await super().finish_response(request, resp, start_time)
        if isinstance(resp, web.Response):
            resp.body = None
        if self._socket is None:
            return answered
        if not request.content.is_eof():
            await self._linger(self._socket, request)
        elif answered[0].keep_alive and not self._messages:
            self._head = b""
            self._connections.let_wait(self, Wait.IDLE)
        return answered

    async def _linger(self, transport: asyncio.Transport, request: web.BaseRequest) -> None:
        """Let the caller read its answer: if the connection were closed at once, it would be reset, and that be lost.

        Some of what the caller still sends is received, the rest is not.
        """
        self._connections.let_wait(self, Wait.ENDING)
        if transport.can_write_eof():
            transport.write_eof()
        received = 0
        with suppress(TimeoutError, ConnectionError, HttpProcessingError, web.RequestPayloadError):
            async with asyncio.timeout(_LINGER) as self._lingering:
                while received < _LINGER_BYTES and not request.content.is_eof():
                    received += len(await request.content.readany())
                if not request.content.is_eof():
                    await asyncio.sleep(_LINGER)
        self._lingering = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        target = _target(self._head)
        path = _PATH.match(target)
        error = exc.error if isinstance(exc, _Refused) else _http_error(exc, target)
        note_refusal(request, error, path=path[1] if path else "")
        url = URL.build(path=path[1] if path else "/", encoded=True)
        known = cast("web.Request", request.clone(rel_url=url))
        response = dialect_of(url.path, self._dialects).answer_error(error, known)
        response.headers[hdrs.CONNECTION] = "close"
        response.force_close()
        return response


def _target(head: bytes) -> str:
    """Return what the last request line of *head* asks for, as it was written; an empty text if there is none."""
    lines = _REQUEST_LINE.findall(head)
    return lines[-1].decode("ascii", "replace") if lines else ""


def _http_error(error: HttpProcessingError, target: str) -> HttpError:
    """Return what *error* means, without repeating any of the request: it may be a credential."""
    if isinstance(error, LineTooLong) and len(target) > _LONGEST_LINE:
        return UriTooLong(f"The path and the query have more than {_LONGEST_LINE} bytes.")
    if isinstance(error, LineTooLong):
        return HeadersTooLarge(f"A header has more than {_LONGEST_LINE} bytes.")
    if error.message.startswith("Too many headers"):
        return HeadersTooLarge("There are too many headers.")
    if isinstance(error, InvalidURLError):
        return BadRequest("The request is malformed: its target is not a URL.")
    what = re.split("[:\n]", error.message, maxsplit=1)[0].rstrip(".")
    if hdrs.TRANSFER_ENCODING in what and hdrs.CONTENT_LENGTH not in what:
        return unknown_coding()
    return BadRequest(f"The request is malformed: {what}.")
