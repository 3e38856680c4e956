"""Errors of the Camunda 8 dialect: RFC 9457 problems whose titles are the names of gRPC and HTTP statuses."""

from __future__ import annotations

from aiohttp import web

from gateway.camunda8.schemas import ProblemDetail
from gateway.dialects import Dialect
from gateway.http_errors import HttpError

_TITLES = {400: "INVALID_ARGUMENT", 503: "RESOURCE_EXHAUSTED"}
"""Where Camunda 8 does not take the name of the HTTP status."""


def problem(refusal: HttpError, instance: str | None = None) -> web.Response:
    """Return *refusal* as Camunda 8 answers it; *instance* is the path that was called."""
    document = {
        "type": "about:blank",
        "title": _TITLES.get(refusal.status, refusal.status.name),
        "status": refusal.status.value,
        "detail": refusal.detail,
    }
    if instance is not None:
        document["instance"] = instance
    return web.json_response(
        document, status=refusal.status, headers=refusal.headers, content_type="application/problem+json"
    )


CAMUNDA8 = Dialect(
    name="camunda8",
    prefixes=("/v2",),
    refuse=problem,
    error=ProblemDetail,
    error_type="application/problem+json",
)
