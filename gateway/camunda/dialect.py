"""What all paths of the Camunda 7 dialect share: the error form, the spellings of a path, the authentication."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import hdrs, web

from broker.access import Permission, Principal
from gateway.answers import answer
from gateway.auth import Authenticator, scheme_of
from gateway.camunda.errors import CamundaError, engine_not_available, http_error, invalid_field, unavailable
from gateway.camunda.schemas import CamundaException
from gateway.dialects import Dialect
from gateway.http_errors import HttpError, Unauthenticated
from gateway.routes import Parameter

ENGINE = "default"
"""The name of the only engine."""
IN_PATH = Parameter("engine", "The engine; there is only one.", {"type": "string", "enum": [ENGINE]}, "path")


def spellings(path: str) -> tuple[str, ...]:
    """Return *path* as callers may write it, too: with a slash at its end, and with JAX-RS matrix parameters."""
    return (path + "/", path + "{matrix:;[^/]*/?}")


def show_date(moment: datetime) -> str:
    """Return *moment* as Camunda writes it: ``2026-11-22T01:12:02.226+0000``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def json_answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return *document* as JSON.

    The content type has no charset, as Camunda's has none: camunda-external-task-client-js reads no other one as JSON.
    """
    return answer(json.dumps(document).encode(), status=status, headers=headers)


async def authorize(auth: Authenticator, request: web.Request, _permissions: Collection[Permission]) -> Principal:
    """Return the principal that sent *request*; ``Basic`` is written just so, as Camunda's filter for it wants.

    That filter looks at the engine before the credentials and answers 404. A caller with a token is none of its
    business, and told of an unknown engine by whatever else Camunda checks first (vector http-408: 400).

    Permissions are checked by the handlers: what Camunda answers without them depends on who would receive the signal.

    Raises:
        CamundaError: The path names an engine that does not exist, and there is no valid token.
        Unauthenticated: There are no valid credentials.
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


def answer_error(error: HttpError, _request: web.Request) -> web.Response:
    """Answer *error* in Camunda's envelope; without valid credentials the body is empty, as Camunda's is."""
    if error.status == 401:
        return web.Response(status=401, headers={hdrs.WWW_AUTHENTICATE: f'Basic realm="{ENGINE}", charset="UTF-8"'})
    ours = error if isinstance(error, CamundaError) else _translate(error)
    return json_answer(ours.body, ours.status, error.headers)


def _translate(error: HttpError) -> CamundaError:
    if error.errors:
        return invalid_field(error.errors[0])
    if error.status == 503:
        return unavailable(error.detail)
    if error.status in {404, 405}:
        return http_error(error.status)
    return CamundaError(
        error.status, "InvalidRequestException" if error.status < 500 else "RestException", error.detail
    )


CAMUNDA = Dialect(
    name="camunda",
    prefixes=("/engine-rest", "/signal"),
    answer_error=answer_error,
    error=CamundaException,
    bare_401=True,
    checks_accept=True,
    authorize=authorize,
)
