"""The HTTP server: aiohttp's, with two differences in what callers get to see, and no memory of what was sent.

A request that aiohttp's parser refuses is answered in its dialect's form, as far as its path is known. And ``100
Continue`` is sent when the body is about to be read (`gateway.bodies`), not before the request is looked at: a caller
that waits for it is told at once that its credentials are wrong or its body is too large.
"""

from __future__ import annotations

import re
from asyncio import Task
from collections.abc import Callable, Sequence
from typing import Any, cast

import structlog
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.continuing import EXPECTATION, is_waiting
from gateway.dialects import Dialect, dialect_of
from gateway.http_errors import BadRequest, HeadersTooLarge, HttpError, UriTooLong

_LONGEST_HEAD = 1 << 16
_LONGEST_LINE = 8190
_WAITERS_LINGER = 1.0
"""Seconds until a caller that was refused its body has to have closed the connection."""
_REQUEST_LINE = re.compile(rb"\b[A-Z]{3,16} (\S++)(?: HTTP/1\.[01]\r?\n|\Z)")
_PATH = re.compile(r"(?:https?://[^/?#]*)?(/[^?#]*)", re.IGNORECASE)

Factory = Callable[
    [RawRequestMessage, StreamReader, RequestHandler, AbstractStreamWriter, "Task[None]"], web.BaseRequest
]

log = structlog.get_logger()


class Runner(web.AppRunner):
    """Runs an application whose paths belong to *dialects*; *options* are those of `aiohttp.web.AppRunner`."""

    def __init__(self, app: web.Application, dialects: Sequence[Dialect], **options: Any) -> None:
        super().__init__(app, **options)
        self._dialects = dialects

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            self._dialects,
            plain.request_handler,
            request_factory=_postponing_continue(plain.request_factory),
            **self._kwargs,
        )


class _Server(web.Server):
    def __init__(self, dialects: Sequence[Dialect], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._dialects = dialects

    def __call__(self) -> RequestHandler:
        return _Connection(self._dialects, self, loop=self._loop, **self._kwargs)


def _postponing_continue(make_request: Factory) -> Factory:
    """Return *make_request*, with the header ``Expect`` where aiohttp does not act on it at once."""

    def make(
        message: RawRequestMessage,
        payload: StreamReader,
        connection: RequestHandler,
        writer: AbstractStreamWriter,
        task: Task[None],
    ) -> web.BaseRequest:
        expectation = message.headers.get(hdrs.EXPECT)
        if expectation is None:
            return make_request(message, payload, connection, writer, task)
        headers = CIMultiDict(message.headers)
        del headers[hdrs.EXPECT]
        request = make_request(message._replace(headers=CIMultiDictProxy(headers)), payload, connection, writer, task)
        request[EXPECTATION] = expectation.lower()
        return request

    return make


class _Connection(RequestHandler):
    """One connection; it remembers the head that is being received, to find in it what the parser did not get to."""

    def __init__(self, dialects: Sequence[Dialect], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._dialects = dialects
        self._head = b""

    def data_received(self, data: bytes) -> None:
        goes_on = b"\r\n\r\n" not in self._head and len(self._head) < _LONGEST_HEAD
        if data:  # aiohttp passes on nothing, too, when it goes on reading
            self._head = (self._head + data if goes_on else data)[:_LONGEST_HEAD]
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer *request*. If the connection ends with that, the caller is told so at once.

        What the caller still sends is read for a while: closed at once, the connection would be reset, and the answer
        might be lost. One that waits to be told to send its body sends nothing.

        The answer stays in memory until the next request comes, which may be never; its body does not.
        """
        answered = await super().finish_response(request, resp, start_time)
        if isinstance(resp, web.Response):
            resp.body = None
        if not answered[0].keep_alive and not request.content.is_eof() and self.transport is not None:
            if is_waiting(request):
                self._lingering_time = _WAITERS_LINGER
            if self.transport.can_write_eof():
                self.transport.write_eof()
        return answered

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
        error = _http_error(exc, target)
        log.debug("request.malformed", path=path and path[1], error=error.detail)
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
    return BadRequest(f"The request is malformed: {what}.")
