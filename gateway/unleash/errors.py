"""Errors of the Unleash dialect: ``{"id", "name", "message", "details"}``."""

from __future__ import annotations

import uuid

from aiohttp import web

from gateway.dialects import Dialect
from gateway.refusals import BadRequest, NotFound, Refusal, Unauthenticated
from gateway.unleash.documents import UnleashError

_NAMES = {
    400: "BadDataError",
    401: "AuthenticationRequired",
    403: "PermissionError",
    404: "NotFoundError",
    408: "RequestTimeoutError",
    409: "NameExistsError",
    413: "PayloadTooLargeError",
    415: "ContentTypeError",
    429: "TooManyRequestsError",
    503: "UnavailableError",
}


class UnknownCaller(Unauthenticated):
    """Raised when there are credentials, but nobody knows them."""

    name = "UnauthorizedError"


class LimitExceeded(BadRequest):
    """Raised when there are as many of something as the settings allow."""

    name = "ExceedsLimitError"


def refuse(refusal: Refusal) -> web.Response:
    """Return *refusal* in Unleash's form; an unknown method is a path that is not there, as in the original."""
    if refusal.status == 405:
        refusal = NotFound("There is nothing here for this method.")
    details = [{"message": error.detail, "path": error.pointer.lstrip("/?")} for error in refusal.errors]
    document = {
        "id": str(uuid.uuid4()),
        "name": getattr(refusal, "name", None) or _NAMES.get(refusal.status, "UnknownError"),
        "message": refusal.detail,
        "details": details or [{"message": refusal.detail}],
    }
    return web.json_response(document, status=refusal.status, headers=refusal.headers)


UNLEASH = Dialect(name="unleash", prefixes=("/api",), refuse=refuse, error=UnleashError)
