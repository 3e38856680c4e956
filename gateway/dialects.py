"""What the dialects share: paths, a way to refuse, and the middleware that turns every error into a error."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware
from pydantic import BaseModel

from broker.errors import InvalidField, StoreUnavailable, TransportError
from gateway.encodings import ENCODINGS, inflate
from gateway.http_errors import BadRequest, Broken, Busy, HttpError, TooLarge, TooSlow, http_error_for

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_TIMEOUT = web.AppKey("body_timeout", timedelta)
"""How long a request's body may take to arrive; whoever sends it byte by byte must not hold a connection for ever."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One API that the gateway speaks.

    Args:
        name: For logs and metrics.
        prefixes: The paths that are its own; what no dialect owns is the last one's.
        refuse: Puts a error into the dialect's form.
        error: That form, for the documentation.
        error_type: Its content type.
    """

    name: str
    prefixes: tuple[str, ...]
    refuse: Callable[[HttpError], web.Response]
    error: type[BaseModel]
    error_type: str = "application/json"

    def owns(self, path: str) -> bool:
        """Return whether *path* is the dialect's own."""
        return any(path == prefix or path.startswith(prefix + "/") for prefix in self.prefixes)


def dialect_of(path: str, dialects: Sequence[Dialect]) -> Dialect:
    """Return the one of *dialects* that *path* belongs to; repeated slashes count as one."""
    path = re.sub("/+", "/", path)
    return next((dialect for dialect in dialects if dialect.owns(path)), dialects[-1])


def answering_errors(dialects: Sequence[Dialect]) -> Middleware:
    """Return the middleware that answers every error in the form of the dialect that was spoken to."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001  (every error has an answer)
            return dialect_of(request.path, dialects).refuse(to_http_error(request, error))

    return middleware


def to_http_error(request: web.Request, error: Exception) -> HttpError:
    """Return what *error* means to the caller; what is our fault is logged."""
    match error:
        case HttpError():
            return error
        case InvalidField():
            return BadRequest(f"{error.pointer.removeprefix('/') or 'body'} {error.detail}", errors=[error])
        case StoreUnavailable() | TransportError() | TimeoutError():
            log.warning("request.postponed", path=request.path, error=str(error))
            return Busy("The broker cannot take this now; try again in a moment.")
        case web.HTTPException():
            allow = error.headers.get("Allow")
            return http_error_for(error.status, error.reason, {"Allow": allow} if allow else None)
        case _:
            log.error("request.failed", path=request.path, method=request.method, exc_info=error)
            return Broken("Something went wrong here; the log has the details.")


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the request's body, inflated if it is compressed.

    Raises:
        TooLarge: It has more than *limit* bytes.
        TooSlow: It was not complete in time.
        BadRequest: The connection broke while it was read, or it is not encoded as its header says.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if encoding not in ENCODINGS:
        return await _receive(request, limit)
    # What cannot be compressed grows a little.
    body = await _receive(request, 2 * limit)
    return inflate(body, encoding, limit) if body else body


async def _receive(request: web.Request, limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        raise TooLarge(f"The body has {request.content_length} bytes; at most {limit} are allowed.")
    if request.content.is_eof():  # a small body is here already, and nothing can come late
        body = await request.content.read()
        if len(body) > limit:
            raise TooLarge(f"The body has more than {limit} bytes.")
        return body
    return await _gather_body(request, limit)


async def _gather_body(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(request.app[BODY_TIMEOUT].total_seconds()):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise TooLarge(f"The body has more than {limit} bytes.")
    except TimeoutError as error:
        raise TooSlow("The body did not arrive in time.") from error
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        raise BadRequest("The body ended too early.") from error
    return bytes(body)
