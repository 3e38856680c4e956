"""Content encodings of request bodies: decoded here, and not by aiohttp, so that no body is inflated past its limit.

aiohttp inflates everything it reads, even a body that it reads only to discard it.
"""

from __future__ import annotations

import zlib

from aiohttp import hdrs, web

from gateway.fields import read_list
from gateway.http_errors import BadRequest, TooLarge, UnsupportedMediaType

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

ENCODINGS = frozenset(_WINDOWS)
"""The encodings that are read."""

_ALIASES = {"x-gzip": "gzip"}
"""RFC 9110, 8.4.1.3."""


def read_encoding(request: web.Request) -> str | None:
    """Return in which of the `ENCODINGS` the body of *request* is, None if it is not encoded.

    Raises:
        UnsupportedMediaType: It is in another one, or in several.
    """
    if hdrs.CONTENT_ENCODING not in request.headers:
        return None
    given = (coding.strip().lower() for coding in (read_list(request, hdrs.CONTENT_ENCODING) or "").split(","))
    codings = [_ALIASES.get(coding, coding) for coding in given if coding not in {"", "identity"}]
    if not codings:
        return None
    encoding = ", ".join(codings)
    if encoding not in ENCODINGS:
        accepted = {"Accept-Encoding": ", ".join(sorted(ENCODINGS))}
        raise UnsupportedMediaType(f'unsupported content encoding "{encoding}"', headers=accepted)
    return encoding


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return what *body* holds in one of the `ENCODINGS`; it works on and stores at most *limit* bytes.

    Like browsers and servers, it takes ``deflate`` with and without zlib's header.

    Raises:
        TooLarge: It holds more than *limit* bytes.
        BadRequest: It is not encoded so, ends too early, or has data after its end.
    """
    bare = encoding == "deflate" and body[0] & 0x0F != zlib.DEFLATED
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS if bare else _WINDOWS[encoding])
    try:
        inflated = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"The body is not encoded as its header says: {encoding}.") from error
    if len(inflated) > limit:
        raise TooLarge(f"Inflated, the body has more than {limit} bytes.")
    if not decompressor.eof or decompressor.unused_data:
        raise BadRequest(f"The body is not exactly one {encoding} stream.")
    return inflated
