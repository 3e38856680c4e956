"""Errors of the Camunda 8 dialect: RFC 9457 problems whose titles are the names of gRPC and HTTP statuses."""

from __future__ import annotations

from aiohttp import web

from gateway.camunda8.schemas import ProblemDetail
from gateway.dialects import Dialect
from gateway.http_errors import HttpError

_TITLES = {400: "INVALID_ARGUMENT", 503: "RESOURCE_EXHAUSTED"}
"""The statuses to which Camunda 8 gives other names than HTTP does."""


def answer_problem(error: HttpError, request: web.Request) -> web.Response:
    """Answer *error* as Camunda 8 does."""
    document = {
        "type": "about:blank",
        "title": _TITLES.get(error.status, error.status.name),
        "status": error.status.value,
        "detail": error.detail,
        "instance": request.path,
    }
    return web.json_response(
        document, status=error.status, headers=error.headers, content_type="application/problem+json"
    )


CAMUNDA8 = Dialect(
    name="camunda8",
    prefixes=("/v2",),
    answer_error=answer_problem,
    error=ProblemDetail,
    error_type="application/problem+json",
)
