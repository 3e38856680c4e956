"""Errors of the native dialect: ``application/problem+json`` (RFC 9457), with the fields that were wrong."""

from __future__ import annotations

from aiohttp import web

from broker.schemas import Problem
from gateway.dialects import Dialect
from gateway.http_errors import HttpError


def render_problem(error: HttpError, *, within: str = "") -> dict[str, object]:
    """Return *error* as a problem document: type, title, status, detail, and errors [{pointer, detail}].

    *within* is the pointer of the part of the body that the error is about.
    """
    document: dict[str, object] = {
        "type": "about:blank",
        "title": error.status.phrase,
        "status": error.status.value,
        "detail": error.detail,
    }
    if error.errors:
        document["errors"] = [{"pointer": within + one.pointer, "detail": one.detail} for one in error.errors]
    return document


def answer_problem(error: HttpError, _request: web.Request) -> web.Response:
    """Answer *error* with a problem document."""
    return web.json_response(
        render_problem(error),
        status=error.status,
        headers=error.headers,
        content_type="application/problem+json",
    )


NATIVE = Dialect(
    name="native",
    prefixes=("/v1",),
    answer_error=answer_problem,
    error=Problem,
    error_type="application/problem+json",
    checks_queries=True,
)
