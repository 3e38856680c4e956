"""Errors of the native dialect: ``application/problem+json`` (RFC 9457), with the fields that were wrong."""

from __future__ import annotations

from aiohttp import web

from gateway.dialects import Dialect
from gateway.documents import Problem
from gateway.refusals import Refusal


def problem_document(refusal: Refusal) -> dict[str, object]:
    """Return *refusal* as a problem document: type, title, status, detail, and errors [{pointer, detail}]."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": refusal.status.phrase,
        "status": refusal.status.value,
        "detail": refusal.detail,
    }
    if refusal.errors:
        document["errors"] = [{"pointer": error.pointer, "detail": error.detail} for error in refusal.errors]
    return document


def problem(refusal: Refusal) -> web.Response:
    """Return the answer that holds *refusal* as a problem document."""
    return web.json_response(
        problem_document(refusal),
        status=refusal.status,
        headers=refusal.headers,
        content_type="application/problem+json",
    )


NATIVE = Dialect(name="native", prefixes=("/v1",), refuse=problem, error=Problem, error_type="application/problem+json")
