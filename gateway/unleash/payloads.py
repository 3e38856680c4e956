"""The payload of a call, read as Unleash's server reads bodies (Express 4's parsers for JSON and forms).

| content type | payload |
|---|---|
| ``application/json`` | the object, byte for byte as sent (in UTF-8) |
| ``application/x-www-form-urlencoded`` | see `gateway.unleash.forms` |
| none, or any other | empty: the body is not even received |
"""

from __future__ import annotations

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


async def read_payload(request: web.Request) -> tuple[bytes, bytes]:
    """Return the request's payload, a JSON object, and the body that it was read from.

    Raises:
        TooLarge: The body has more than `BODY_LIMIT` bytes, or is a form with too many parameters.
        TooSlow: It was not complete in time.
        BadRequest: It is malformed, or not a JSON object.
        UnsupportedMediaType: It is in a charset or a content encoding that is not read.
    """
    kind = _kind(request)
    if not request.body_exists or kind not in _CHARSETS:
        return b"{}", b""
    charset = (request.charset or "utf-8").lower()
    if charset not in _CHARSETS[kind]:
        raise UnsupportedMediaType(f'unsupported charset "{charset.upper()}"')
    try:
        body = await read_body(request, BODY_LIMIT)
    except TooLarge as error:
        limit = InvalidField("/body", f"must have at most {BODY_LIMIT} bytes")
        raise TooLarge("request entity too large", errors=[limit]) from error
    read_as = parse_json if kind == _JSON else _encode_form
    return await offload(request, lambda: read_as(body, charset), size=len(body)), body


def ignored_body(request: web.Request) -> str | None:
    """Return a warning to the caller of *request* if `read_payload` ignores its body, None if it does not.

    Amazon SNS, for example, sends JSON as ``text/plain``, and its signals would be empty without anybody knowing why.
    """
    kind = _kind(request)
    if not request.body_exists or kind in _CHARSETS:
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


def _encode_form(body: bytes, charset: str) -> bytes:
    return encode(parse_form(body.decode(charset, "replace").removeprefix("\ufeff"), charset))
