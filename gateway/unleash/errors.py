"""Errors of the Unleash dialect: ``{"id", "name", "message", "details"}``."""

from __future__ import annotations

import uuid

from aiohttp import web

from gateway.dialects import Dialect
from gateway.http_errors import BadRequest, HttpError, NotFound, Unauthenticated
from gateway.unleash.schemas import UnleashError

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


def refuse(error: HttpError) -> web.Response:
    """Return *refusal* in Unleash's form; an unknown method is a path that is not there, as in the original."""
    if error.status == 405:
        error = NotFound("There is nothing here for this method.")
    details = [{"message": error.detail, "path": error.pointer.lstrip("/?")} for error in error.errors]
    document = {
        "id": str(uuid.uuid4()),
        "name": getattr(error, "name", None) or _NAMES.get(error.status, "UnknownError"),
        "message": error.detail,
        "details": details or [{"message": error.detail}],
    }
    return web.json_response(document, status=error.status, headers=error.headers)


UNLEASH = Dialect(name="unleash", prefixes=("/api",), refuse=refuse, error=UnleashError)
