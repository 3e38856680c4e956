"""What the parts of ``/api/admin`` share: the body of a request, and the error of a full quota."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import hdrs, web

from broker.errors import LimitReached
from broker.schematypes import Schema
from gateway.bodies import BODY_LIMIT, check_charset, parse, read_body
from gateway.http_errors import UnsupportedMediaType
from gateway.unleash.errors import LimitExceeded

ENDPOINTS = "/api/admin/signal-endpoints"

D = TypeVar("D", bound=Schema)


async def read_strictly(request: web.Request, model: type[D]) -> D:
    """Return the body of *request* as a *model*.

    Raises:
        UnsupportedMediaType: Its content type is not ``application/json``, on which the original insists, in UTF-8.
        TooLarge, TooSlow, BadRequest, InvalidDocument: As for `read_body` and `parse`.
    """
    if hdrs.CONTENT_TYPE not in request.headers or request.content_type != "application/json":
        given = request.headers.get(hdrs.CONTENT_TYPE, "no content type")
        raise UnsupportedMediaType(f"The body must be application/json; the request says {given}.")
    check_charset(request)
    return parse(model, await read_body(request, request.app[BODY_LIMIT]))


def limit_exceeded(error: LimitReached) -> LimitExceeded:
    """Return the error of a creation, in the original's words."""
    return LimitExceeded(
        f"Failed to create {error.what}. You can't create more than the established limit of {error.most}."
    )
