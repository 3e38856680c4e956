"""What the parts of ``/api/admin`` share: who calls, the body of a request, the form of an answer."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import hdrs, web

from broker.access import Permission, Principal
from broker.errors import LimitReached
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse
from gateway.dialects import read_body
from gateway.http_errors import Unauthenticated, UnsupportedMediaType
from gateway.schemas import Schema
from gateway.unleash.errors import LimitExceeded, UnknownCaller

ENDPOINTS = "/api/admin/signal-endpoints"

D = TypeVar("D", bound=Schema)


async def admit(request: web.Request, auth: Authenticator, permission: Permission) -> Principal:
    """Return the principal that sent *request*, which has *permission*.

    Raises:
        Unauthenticated: There are no credentials, or (in the original's words) they are not ours.
        Forbidden: It does not have the permission.
    """
    try:
        principal = await auth.principal(request)
    except Unauthenticated as error:
        if hdrs.AUTHORIZATION in request.headers:
            raise UnknownCaller("You must log in to use Unleash.", headers=error.headers) from None
        raise
    demand(principal, permission)
    return principal


async def read_document(request: web.Request, model: type[D], limit: int) -> D:
    """Return the body of *request*, of at most *limit* bytes, as a *model*.

    Raises:
        UnsupportedMediaType: It does not say that it is ``application/json``, as the original insists.
        BadRequest, TooLarge: It cannot be one.
    """
    if hdrs.CONTENT_TYPE not in request.headers or request.content_type != "application/json":
        given = request.headers.get(hdrs.CONTENT_TYPE, "no content type")
        raise UnsupportedMediaType(f"The body must be application/json; the request says {given}.")
    return parse(model, await read_body(request, limit))


def answer(document: Schema, *, status: int = 200, location: str | None = None) -> web.Response:
    """Return *document* as an answer; *location* is where a created one is found."""
    headers = {} if location is None else {"Location": location}
    return web.Response(body=dump(document), status=status, headers=headers, content_type="application/json")


def exceeded(error: LimitReached) -> LimitExceeded:
    """Return the error of a creation, in the original's words."""
    return LimitExceeded(
        f"Failed to create {error.what}. You can't create more than the established limit of {error.most}."
    )
