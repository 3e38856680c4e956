"""The Unleash dialect: its callers, and its errors (``{"id", "name", "message", "details"}``)."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from aiohttp import hdrs, web

from broker.access import Permission, Principal
from gateway import dialects
from gateway.auth import Authenticator
from gateway.dialects import Dialect
from gateway.http_errors import BadRequest, Conflicting, HttpError, Unauthenticated
from gateway.unleash.schemas import UnleashError

_NAMES = {
    400: "BadDataError",
    401: "AuthenticationRequired",
    403: "PermissionError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
    409: "ConflictError",
    413: "PayloadTooLargeError",
    415: "ContentTypeError",
    429: "TooManyRequestsError",
    503: "UnavailableError",
    508: "LoopDetectedError",
}


class UnknownCaller(Unauthenticated):
    """Raised when the credentials are not valid."""

    name = "UnauthorizedError"


class NameExists(Conflicting):
    """Raised when a name is taken."""

    name = "NameExistsError"


class LimitExceeded(BadRequest):
    """Raised when there are as many of something as the settings allow."""

    name = "ExceedsLimitError"


async def authorize(auth: Authenticator, request: web.Request, permissions: Collection[Permission]) -> Principal:
    """Return the principal that sent *request* and has *permissions*.

    Raises:
        Unauthenticated: There are no credentials, or (in the original's words) they are not valid.
        PermissionDenied: A permission is missing.
    """
    try:
        return await dialects.authorize(auth, request, permissions)
    except Unauthenticated as error:
        if hdrs.AUTHORIZATION in request.headers:
            raise UnknownCaller("You must log in to use Unleash.", headers=error.headers) from None
        raise


def answer_error(error: HttpError, _request: web.Request) -> web.Response:
    """Answer *error* in Unleash's form; another method is answered 405 with ``Allow``, where the original says 404."""
    details = [{"message": error.detail, "path": error.pointer.lstrip("/?")} for error in error.errors]
    document = {
        "id": str(uuid.uuid4()),
        "name": getattr(error, "name", None) or _NAMES.get(error.status, "UnknownError"),
        "message": error.detail,
        "details": details or [{"message": error.detail}],
    }
    return web.json_response(document, status=error.status, headers=error.headers)


UNLEASH = Dialect(
    name="unleash", prefixes=("/api", "/health"), answer_error=answer_error, error=UnleashError, authorize=authorize
)
