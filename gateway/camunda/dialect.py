"""What every path of the Camunda 7 dialect shares: its error form, its spellings of a path, its callers."""

from __future__ import annotations

import json
from functools import wraps
from typing import Any

from aiohttp import hdrs, web

from broker.access import Principal
from gateway.auth import Authenticator, scheme_of
from gateway.camunda.errors import CamundaError, engine_not_available, http_error, invalid_field, unavailable
from gateway.camunda.schemas import CamundaException
from gateway.dialects import Dialect, Handler
from gateway.http_errors import HttpError, Unauthenticated

ENGINE = "default"
"""The one engine there is."""


def spellings(path: str) -> tuple[str, ...]:
    """Return *path* as callers may write it, too: with a slash at its end, and with JAX-RS matrix parameters."""
    return (path + "/", path + "{matrix:;[^/]*/?}")


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return *document* as JSON."""
    return web.Response(status=status, text=json.dumps(document), content_type="application/json", headers=headers)


def answering(handler: Handler) -> Handler:
    """Return *handler* with each `CamundaError` it raises answered in Camunda's envelope."""

    @wraps(handler)
    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except CamundaError as error:
            return answer(error.body, error.status)

    return answered


async def caller(auth: Authenticator, request: web.Request) -> Principal:
    """Return who sent *request*; ``Basic`` is written just so, as Camunda's filter for it wants.

    That filter looks at the engine before the credentials and answers 404. A caller with a token is none of its
    business, and told of an unknown engine by whatever else Camunda checks first (vector http-408: 400).

    Raises:
        CamundaError: The path names an engine that does not exist, and there is no valid token.
        Unauthenticated: Nobody knows.
    """
    engine = request.match_info.get("engine", ENGINE)
    scheme = scheme_of(request.headers.get(hdrs.AUTHORIZATION, ""))
    is_basic = scheme.lower() == "basic"
    if is_basic and engine != ENGINE:
        raise engine_not_available(engine)
    if is_basic and scheme != "Basic":
        raise Unauthenticated("The scheme is written 'Basic'.")
    try:
        return await auth.principal(request)
    except Unauthenticated:
        if engine != ENGINE:
            raise engine_not_available(engine) from None
        raise


def refuse(refusal: HttpError) -> web.Response:
    """Return *refusal* in Camunda's envelope; a caller that nobody knows gets an empty body, as from Camunda."""
    if refusal.status == 401:
        return web.Response(status=401, headers={hdrs.WWW_AUTHENTICATE: f'Basic realm="{ENGINE}"'})
    if refusal.errors:
        error = invalid_field(refusal.errors[0])
    elif refusal.status == 503:
        error = unavailable(refusal.detail)
    elif refusal.status in {404, 405}:
        error = http_error(refusal.status)
    else:
        kind = "InvalidRequestException" if refusal.status < 500 else "RestException"
        error = CamundaError(refusal.status, kind, refusal.detail)
    return answer(error.body, error.status, refusal.headers)


CAMUNDA = Dialect(name="camunda", prefixes=("/engine-rest", "/signal"), refuse=refuse, error=CamundaException)
