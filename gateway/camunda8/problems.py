"""Errors of the Camunda 8 dialect: RFC 9457 problems.

What its engine says has the name of a gRPC status as its title; what its HTTP layer (Spring) says, the phrase of HTTP.
"""

from __future__ import annotations

from aiohttp import web

from gateway.camunda8.schemas import ProblemDetail
from gateway.dialects import Dialect
from gateway.http_errors import BadRequest, Conflicting, HttpError, NotFound

_ENGINE = {
    400: "INVALID_ARGUMENT",
    403: "FORBIDDEN",
    409: "CONFLICT",
    429: "RESOURCE_EXHAUSTED",
    503: "RESOURCE_EXHAUSTED",
}


class Unreadable(BadRequest):
    """Raised when the body is not JSON, or has not the shape of the document; the HTTP layer says so."""

    title = "Bad Request"


class NotCorrelated(NotFound):
    """Raised when nothing waits for a message."""

    title = "NOT_FOUND"


class AlreadyPublished(Conflicting):
    """Raised when there was a message with the same id."""

    title = "ALREADY_EXISTS"


def answer_problem(error: HttpError, request: web.Request) -> web.Response:
    """Answer *error* as Camunda 8 does."""
    document = {
        "type": "about:blank",
        "title": getattr(error, "title", None) or _ENGINE.get(error.status, error.status.phrase),
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
