"""Refusals: why a request was not done as asked, for its line in the log."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from broker.redaction import hide_tokens
from gateway.http_errors import (
    BadRequest,
    Broken,
    Busy,
    Forbidden,
    HeadersTooLarge,
    HttpError,
    TooLarge,
    TooMany,
    TooSlow,
    Unauthenticated,
    UriTooLong,
)

_TELLING = (Broken, Busy, Forbidden, HeadersTooLarge, TooLarge, TooMany, TooSlow, Unauthenticated, UriTooLong)
"""Errors that repeat nothing of the request's path and body, where a secret may be in the wrong place."""
_MOST_FIELDS = 5
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a request was refused with. It has no error: that leads to the request again, and would keep it in memory.

    Args:
        status: The status, before the dialect has had its say.
        reason: Why, as a sentence or in a word.
        fields: The first fields that were wrong.
        path: The path that was asked for, if the request does not have it, since it could not be read.
    """

    status: int
    reason: str
    fields: tuple[str, ...] = ()
    path: str | None = None


REFUSAL = web.RequestKey("refusal", Refusal)


def show(text: str) -> str:
    """Return what may be logged of *text* of a request: its beginning, without tokens in the wrong place."""
    return hide_tokens(text[: 5 * _LONGEST])[:_LONGEST]


def _repeats_nothing(error: HttpError) -> bool:
    """Return whether the detail of *error* has nothing of the request: of a wrong field it may quote the value.

    What is wrong with a request as a whole has no fields: that its body is not JSON, say, and at which column.
    """
    return isinstance(error, _TELLING) or (type(error) is BadRequest and not error.errors)


def note_refusal(
    request: web.BaseRequest, error: HttpError, *, cause: str | None = None, path: str | None = None
) -> None:
    """Note that *request* was refused with *error*; *cause* is what only the log may know.

    What was noted of an error of the same status before stays, if there is no other cause: it may be the same one.
    """
    known = request.get(REFUSAL)
    if known is not None and known.status == error.status and cause is None:
        return
    told = show(error.detail) if _repeats_nothing(error) else HTTPStatus(error.status).phrase
    fields = tuple(show(one.pointer) for one in error.errors[:_MOST_FIELDS])
    request[REFUSAL] = Refusal(int(error.status), cause or told, fields, path)
