"""The payload of a call, read as Unleash's server reads bodies (Express 4's parsers for JSON and forms).

| content type | payload |
|---|---|
| ``application/json`` | the object, byte for byte as sent (in UTF-8) |
| ``application/x-www-form-urlencoded`` | see `gateway.unleash.forms` |
| none, or any other | empty: the body is not even received |
"""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import hdrs, web

from broker.errors import InvalidField
from broker.jsontext import encode, read
from gateway.bodies import read_body
from gateway.http_errors import BadRequest, TooLarge, UnsupportedMediaType
from gateway.offloading import offload
from gateway.unleash.forms import parse_form

BODY_LIMIT = 100 * 1024

_JSON = "application/json"
_CHARSETS = {
    _JSON: ("utf-8", "utf-16", "utf-16le", "utf-16be"),
    "application/x-www-form-urlencoded": ("utf-8", "iso-8859-1"),
}


class Payload(NamedTuple):
    """The payload of a call, a JSON object, the body that it was read from, and a warning if it does not hold all."""

    content: bytes
    body: bytes
    warning: str | None


async def read_payload(request: web.Request) -> Payload:
    """Return the request's payload.

    Raises:
        TooLarge: The body has more than `BODY_LIMIT` bytes, or is a form with too many parameters.
        TooSlow: It was not complete in time.
        BadRequest: It is malformed, or not a JSON object.
        UnsupportedMediaType: It is in a charset or a content encoding that is not read.
    """
    kind = _kind(request)
    if not request.body_exists or kind not in _CHARSETS:
        return Payload(b"{}", b"", _ignored_body(request))
    charset = (request.charset or "utf-8").lower()
    if charset not in _CHARSETS[kind]:
        raise UnsupportedMediaType(f'unsupported charset "{charset.upper()}"')
    try:
        body = await read_body(request, BODY_LIMIT)
    except TooLarge as error:
        limit = InvalidField("/body", f"must have at most {BODY_LIMIT} bytes")
        raise TooLarge("request entity too large", errors=[limit]) from error
    read_as = _read_json if kind == _JSON else read_form
    return await offload(request, lambda: read_as(body, charset), size=len(body))


def _ignored_body(request: web.Request) -> str | None:
    """Return a warning to the caller of *request* if it has a body that is not read.

    Amazon SNS, for example, sends JSON as ``text/plain``, and its signals would be empty without anybody knowing why.
    """
    kind = _kind(request)
    if not request.body_exists:
        return None
    shown = kind.encode("ascii", "replace").decode() or "without a content type"
    return f"the body was ignored: it is {shown}, not {_JSON}"


def _kind(request: web.Request) -> str:
    return request.content_type if hdrs.CONTENT_TYPE in request.headers else ""


def parse_json(body: bytes, charset: str = "utf-8") -> bytes:
    """Return the JSON object in *body* as it was sent, in UTF-8 and without a byte order mark.

    Raises:
        BadRequest: It is not JSON, nests too deep, or is not an object.
    """
    try:
        text = body.decode(charset).removeprefix("\ufeff")
        value = read(text, long_integers=False) if text else {}
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise BadRequest("The payload of a signal must be a JSON object.")
    return text.encode() or b"{}"


def _read_json(body: bytes, charset: str) -> Payload:
    return Payload(parse_json(body, charset), body, None)


def read_form(body: bytes, charset: str = "utf-8") -> Payload:
    """Return the payload that the form in *body* is.

    Raises:
        BadRequest: It is not in its charset, or a name has too many brackets.
        TooLarge: It has too many parameters.
    """
    try:
        text = body.decode(charset)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The form is not in UTF-8: {error}.") from error
    form = parse_form(text.removeprefix("\ufeff"), charset)
    warning = f"parameters of the form that were ignored, or not read whole: {form.lost}" if form.lost else None
    return Payload(encode(form.payload), body, warning)
