"""Request bodies: received up to a limit and within a time, read as JSON, validated by a schema."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from broker.jsontext import read
from broker.schemas.validation import validate
from broker.schematypes import Schema
from gateway.continuing import invite_body
from gateway.encodings import inflate, read_encoding
from gateway.http_errors import BadRequest, TooLarge, TooSlow, UnsupportedMediaType
from gateway.offloading import offload
from gateway.rooms import ARRIVAL, SMALL, WORK, take_room, weigh

D = TypeVar("D", bound=Schema)

BODY_TIMEOUT = web.AppKey("body_timeout", timedelta)
"""How long a request's body may take to arrive: a caller that sends it byte by byte must not hold a connection."""
BODY_LIMIT = web.AppKey("body_limit", int)
"""The most bytes that `read_json` takes."""


async def read_document(request: web.Request, model: type[D], *, optional: bool = False) -> D:
    """Return the body of *request* as a *model*; an *optional* one that is empty is ``{}``.

    Raises:
        UnsupportedMediaType, TooLarge, TooSlow, Busy, BadRequest, InvalidDocument: As for `read_json` and `parse`.
    """
    body = await read_json(request)
    return await offload(request, lambda: parse(model, body or b"{}" if optional else body), size=len(body))


async def read_json(request: web.Request) -> bytes:
    """Return the body of a request whose content type, if it has one, is JSON in UTF-8.

    Raises:
        UnsupportedMediaType: It has another content type, or another charset.
        TooLarge, TooSlow, Busy, BadRequest: As for `read_body`.
    """
    check_json(request)
    return await read_body(request, request.app[BODY_LIMIT])


def check_json(request: web.Request) -> None:
    """Check that the body of *request* is JSON in UTF-8, as far as its content type says.

    Raises:
        UnsupportedMediaType: It has another content type, or another charset.
    """
    kind = request.content_type if "Content-Type" in request.headers else "application/json"
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(f"The body is {kind}; this path reads application/json.")
    check_charset(request)


def check_charset(request: web.Request) -> None:
    """Check that the body of *request* is in UTF-8, as far as its content type says.

    Raises:
        UnsupportedMediaType: It is in another charset.
    """
    charset = request.charset
    if charset is not None and charset.lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType(f"The body is in {charset}; this path reads UTF-8.")


def parse(model: type[D], body: bytes) -> D:
    """Return *body* as a *model*.

    Raises:
        BadRequest: It is not JSON (UTF-8, at most 250 levels deep, no NaN).
        InvalidDocument: It is not what the model allows.
    """
    try:
        value = read(body.decode().removeprefix("\ufeff"), long_integers=False)
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    return validate(model, value)


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the request's body, inflated if it is compressed.

    Raises:
        TooLarge: It has more than *limit* bytes.
        TooSlow: It was not complete in time.
        Busy: There was no room in memory for it in time.
        BadRequest: The connection broke while it was read, or it is not encoded as its header says.
        UnsupportedMediaType: It is in an encoding that is not read.
    """
    encoding = read_encoding(request)
    if encoding is None:
        body = await _receive(request, limit)
        await take_room(request, WORK, weigh(body), within=request.app[BODY_TIMEOUT])
        return body
    # Data that cannot be compressed grows a little.
    body = await _receive(request, 2 * limit)
    if not body:
        return body
    inflated = await offload(request, lambda: inflate(body, encoding, limit), size=len(body))
    size = weigh(inflated)
    if size > SMALL:
        del inflated  # while it waits for room it takes none
        await take_room(request, WORK, size, within=request.app[BODY_TIMEOUT])
        inflated = await offload(request, lambda: inflate(body, encoding, limit), size=len(body))
    return inflated


async def _receive(request: web.Request, limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        raise TooLarge(f"The body has {request.content_length} bytes; at most {limit} are allowed.")
    # Chunks do not say how many bytes will follow: their room grows with them.
    size = request.content.total_bytes if request.content.is_eof() else request.content_length or 0
    await take_room(request, ARRIVAL, size, within=request.app[BODY_TIMEOUT])
    if request.content.is_eof():  # a small body has arrived already, so that no timeout is needed
        body = await request.content.read()
        if len(body) > limit:
            raise TooLarge(f"The body has more than {limit} bytes.")
        return body
    return await _gather_body(request, limit, room=max(size, SMALL))


async def _gather_body(request: web.Request, limit: int, *, room: int) -> bytes:
    """Return the body, for which there is so much *room* so far."""
    body = bytearray()
    try:
        async with asyncio.timeout(request.app[BODY_TIMEOUT].total_seconds()) as deadline:
            await invite_body(request)
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise TooLarge(f"The body has more than {limit} bytes.")
                if len(body) > room:
                    room = min(limit, 2 * len(body))
                    await _extend_room(request, room, deadline)
    except TimeoutError as error:
        raise TooSlow("The body did not arrive in time.") from error
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        raise BadRequest("The body ended too early.") from error
    return bytes(body)


async def _extend_room(request: web.Request, room: int, deadline: asyncio.Timeout) -> None:
    """Let the body have *room* in all; the *deadline* of the caller does not run while it waits for that."""
    clock = asyncio.get_running_loop().time
    left = (deadline.when() or clock()) - clock()
    deadline.reschedule(None)
    await take_room(request, ARRIVAL, room, within=request.app[BODY_TIMEOUT])
    deadline.reschedule(clock() + left)
