"""Content encodings: those of request bodies, and what a caller takes.

Bodies are decoded here, and not by aiohttp, so that none is inflated past its limit: aiohttp inflates everything it
reads, even a body that it reads only to discard it.
"""

from __future__ import annotations

import re
import zlib

from aiohttp import hdrs, web

from gateway.fields import read_list
from gateway.http_errors import BadRequest, TooLarge, UnsupportedMediaType

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

ENCODINGS = frozenset(_WINDOWS)
"""The encodings that are read."""

_PIECE = 4096
"""Bytes that are inflated at a time. What follows a stream in its last piece is copied, and there may be many."""

_ALIASES = {"x-gzip": "gzip"}
"""RFC 9110, 8.4.1.3."""

_REFUSED = re.compile(r"q=0(\.0{0,3})?")
"""A weight that means "not acceptable" (RFC 9110, 12.4.2)."""


def read_encoding(request: web.Request) -> str | None:
    """Return in which of the `ENCODINGS` the body of *request* is, None if it is not encoded.

    Raises:
        UnsupportedMediaType: It is in another one, or in several, `identity` beside another among them.
    """
    if hdrs.CONTENT_ENCODING not in request.headers:
        return None
    given = (coding.strip().lower() for coding in (read_list(request, hdrs.CONTENT_ENCODING) or "").split(","))
    encoding = ", ".join(_ALIASES.get(coding, coding) for coding in given if coding)
    if encoding in {"", "identity"}:
        return None
    if encoding not in ENCODINGS:
        accepted = {"Accept-Encoding": ", ".join(sorted(ENCODINGS))}
        raise UnsupportedMediaType(f'unsupported content encoding "{encoding}"', headers=accepted)
    return encoding


def accepts_gzip(request: web.BaseRequest) -> bool:
    """Return whether the caller takes an answer in ``gzip`` (RFC 9110, 12.5.3); without the header it gets none."""
    taken = {}
    for member in (read_list(request, hdrs.ACCEPT_ENCODING) or "").lower().split(","):
        coding, _, weight = (part.strip() for part in member.partition(";"))
        taken[_ALIASES.get(coding, coding)] = not _REFUSED.fullmatch(weight)
    return taken.get("gzip", taken.get("*", False))


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return what *body* holds in one of the `ENCODINGS`; it works on and stores at most *limit* bytes.

    ``gzip`` may have several members, one after the other (RFC 1952, 2.2), and zeros that fill a block after the last
    one. Like browsers and servers, it takes ``deflate`` with and without zlib's header.

    Raises:
        TooLarge: It holds more than *limit* bytes, all members together.
        BadRequest: It is not encoded so, ends too early, or has other data after its end.
    """
    bare = encoding == "deflate" and body[0] & 0x0F != zlib.DEFLATED
    window = -zlib.MAX_WBITS if bare else _WINDOWS[encoding]
    inflated, position = bytearray(), 0
    try:
        while not position or (encoding == "gzip" and body[position : position + 1] not in {b"", b"\0"}):
            position = _inflate_stream(body, position, zlib.decompressobj(window), inflated, limit)
    except zlib.error as error:
        raise BadRequest(f"The body is not encoded as its header says: {encoding}.") from error
    except EOFError as error:
        raise BadRequest(f"The body ends before its {encoding} data does.") from error
    padding = body.count(0, position) if encoding == "gzip" else 0
    if position + padding < len(body):
        raise BadRequest(f"Something follows the {encoding} data in the body.")
    return bytes(inflated)


def _inflate_stream(body: bytes, position: int, stream: zlib._Decompress, inflated: bytearray, limit: int) -> int:
    """Add to *inflated* what the *stream* from *position* in *body* holds, and return the position after it."""
    view = memoryview(body)
    while not stream.eof:
        piece = view[position : position + _PIECE]
        if not piece:
            raise EOFError
        inflated += stream.decompress(piece, limit + 1 - len(inflated))
        if len(inflated) > limit:
            raise TooLarge(f"Inflated, the body has more than {limit} bytes.")
        position += len(piece) - len(stream.unused_data)
    return position
