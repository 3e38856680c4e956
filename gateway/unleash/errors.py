"""Errors of the Unleash dialect: ``{"id", "name", "message", "details"}``."""

from __future__ import annotations

import uuid

from aiohttp import web

from gateway.dialects import Dialect
from gateway.refusals import Refusal
from gateway.unleash.documents import UnleashError

_NAMES = {
    400: "BadDataError",
    401: "AuthenticationRequired",
    403: "PermissionError",
    404: "NotFoundError",
    405: "NotFoundError",
    408: "RequestTimeoutError",
    409: "NameExistsError",
    413: "PayloadTooLargeError",
    415: "ContentTypeError",
    429: "TooManyRequestsError",
    503: "UnavailableError",
}


def refuse(refusal: Refusal) -> web.Response:
    """Return *refusal* in Unleash's form; an unknown method is a path that is not there, as in the original."""
    is_unknown = refusal.status == 405
    status, headers = (404, {}) if is_unknown else (refusal.status.value, refusal.headers)
    details = [{"message": error.detail, "path": error.pointer.removeprefix("/")} for error in refusal.errors]
    document = {
        "id": str(uuid.uuid4()),
        "name": getattr(refusal, "name", None) or _NAMES.get(status, "UnknownError"),
        "message": refusal.detail,
        "details": details or [{"message": refusal.detail}],
    }
    return web.json_response(document, status=status, headers=headers)


UNLEASH = Dialect(name="unleash", prefixes=("/api",), refuse=refuse, error=UnleashError)
