"""Errors of the native dialect: ``application/problem+json`` (RFC 9457), with the fields that were wrong."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web

from broker.access import Permission, Principal, require_permission
from broker.schemas import Problem
from gateway.auth import Authenticator
from gateway.dialects import Dialect
from gateway.http_errors import HttpError


def render_problem(error: HttpError) -> dict[str, object]:
    """Return *error* as a problem document: type, title, status, detail, and errors [{pointer, detail}]."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": error.status.phrase,
        "status": error.status.value,
        "detail": error.detail,
    }
    if error.errors:
        document["errors"] = [{"pointer": one.pointer, "detail": one.detail} for one in error.errors]
    return document


def answer_problem(error: HttpError, _request: web.Request) -> web.Response:
    """Answer *error* with a problem document."""
    return web.json_response(
        render_problem(error),
        status=error.status,
        headers=error.headers,
        content_type="application/problem+json",
    )


async def authorize(auth: Authenticator, request: web.Request, permissions: Collection[Permission]) -> Principal:
    """Return the principal that sent *request* and has *permissions*; here it may be known by a session's cookie.

    Raises:
        Unauthenticated: There are no valid credentials.
        Forbidden: A session's cookie alone does not show that a page of this server meant the request.
        PermissionDenied: The principal lacks one of *permissions*.
        Busy: Too many passwords wait to be checked.
    """
    principal = await auth.principal_or_session(request)
    for permission in permissions:
        require_permission(principal, permission)
    return principal


NATIVE = Dialect(
    name="native",
    prefixes=("/v1",),
    answer_error=answer_problem,
    error=Problem,
    error_type="application/problem+json",
    checks_queries=True,
    authorize=authorize,
)
