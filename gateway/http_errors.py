"""Errors of requests, before a dialect has put them into its own form.

HttpError
+-- BadRequest            400
+-- Unauthenticated       401
+-- Forbidden             403
+-- NotFound              404
+-- MethodNotAllowed      405
+-- TooSlow               408
+-- Conflicting           409
+-- TooLarge              413
+-- UriTooLong            414
+-- UnsupportedMediaType  415
+-- ExpectationFailed     417
+-- TooMany               429, with Retry-After
+-- HeadersTooLarge       431
+-- Broken                500: the gateway's own fault
+-- Busy                  503, with Retry-After
+-- Looping               508
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from multidict import CIMultiDict

from broker.errors import InvalidField, SignalBrokerError


class HttpError(SignalBrokerError):
    """Raised when a request cannot be answered as asked; each dialect has its own form for it.

    Args:
        detail: What is wrong and what is allowed, as a sentence for the caller.
        errors: The fields that were wrong, each with a JSON pointer.
        headers: Further headers of the answer.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(
        self, detail: str, *, errors: Sequence[InvalidField] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = CIMultiDict(headers or {})


class BadRequest(HttpError):
    """Raised when the request itself is wrong."""

    status = HTTPStatus.BAD_REQUEST


class Unauthenticated(HttpError):
    """Raised when there are no valid credentials."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(HttpError):
    """Raised when the caller is known and may not do this."""

    status = HTTPStatus.FORBIDDEN


class NotFound(HttpError):
    """Raised when there is no such thing, or the caller may not see it."""

    status = HTTPStatus.NOT_FOUND


class MethodNotAllowed(HttpError):
    """Raised when the path exists, but not with this method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED


class TooSlow(HttpError):
    """Raised when the caller takes too long to send its request."""

    status = HTTPStatus.REQUEST_TIMEOUT


class Conflicting(HttpError):
    """Raised when the request conflicts with the present state."""

    status = HTTPStatus.CONFLICT


class TooLarge(HttpError):
    """Raised when the body is over its limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UriTooLong(HttpError):
    """Raised when the path and the query are over their limit."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG


class UnsupportedMediaType(HttpError):
    """Raised when the body is in a format that the path does not read."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ExpectationFailed(HttpError):
    """Raised when the caller expects what is not offered."""

    status = HTTPStatus.EXPECTATION_FAILED


class HeadersTooLarge(HttpError):
    """Raised when a header, or their number, is over its limit."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class TooMany(HttpError):
    """Raised when the caller has reached its rate limit, or used what it may."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Busy(HttpError):
    """Raised when the request cannot be answered now; no request answered with 2xx is affected."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Looping(HttpError):
    """Raised when a throw seems to be one of a loop of throws without end."""

    status = HTTPStatus.LOOP_DETECTED


class Broken(HttpError):
    """Raised when the gateway itself has failed."""


def http_error_for(status: int, detail: str, headers: Mapping[str, str] | None = None) -> HttpError:
    """Return the error that stands for an HTTP *status*."""
    kinds: tuple[type[HttpError], ...] = (Unauthenticated, Forbidden, NotFound, MethodNotAllowed, Conflicting)
    kinds += (TooLarge, UnsupportedMediaType)
    other = BadRequest if status < 500 else Broken
    return next((kind for kind in kinds if kind.status == status), other)(detail, headers=headers)
