"""Heads of requests: what makes one ambiguous or malformed, beyond what aiohttp's parser refuses."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from aiohttp import HttpVersion10, HttpVersion11, hdrs
from aiohttp.http_parser import RawRequestMessage

from gateway.http_errors import BadRequest, HttpError, UnsupportedMediaType

SPOKEN = (HttpVersion10, HttpVersion11)
"""The versions of HTTP that are answered."""

SINGLETONS: Collection[str] = (
    hdrs.AUTHORIZATION,
    hdrs.CONTENT_LENGTH,
    hdrs.CONTENT_TYPE,
    hdrs.EXPECT,
    hdrs.HOST,
    "Idempotency-Key",
    hdrs.ORIGIN,
    "traceparent",
    hdrs.TRANSFER_ENCODING,
)
"""Headers that have one value: two of them mean what whoever reads them takes, which a proxy may see otherwise."""

_HOST = re.compile(
    r"(?:[A-Za-z0-9_~.-]|%[0-9A-Fa-f]{2})+(?::(?P<port>[0-9]{0,5}))?|\[[0-9A-Fa-f:.]+](?::(?P<port6>[0-9]{0,5}))?"
)


@lru_cache(maxsize=256)
def is_host(text: str) -> bool:
    """Return whether *text* is the host of a URL, with a port or without (RFC 3986, 3.2)."""
    found = _HOST.fullmatch(text)
    return found is not None and int(found["port"] or found["port6"] or 0) <= 65535


def check_head(head: RawRequestMessage) -> None:
    """Check that a request with that *head* can be understood in one way only.

    Raises:
        BadRequest: It is neither HTTP/1.0 nor 1.1, has no valid ``Host``, or one of the `SINGLETONS` twice.
        UnsupportedMediaType: Its body has another transfer coding than ``chunked``.
    """
    headers = head.headers
    if head.version not in SPOKEN:
        raise BadRequest("The request is malformed: only HTTP/1.0 and HTTP/1.1 are spoken here.")
    if len(headers) > 1 and len({*map(str.lower, headers)}) < len(headers):
        for name in SINGLETONS:
            if len(headers.getall(name, ())) > 1:
                raise BadRequest(f"The request is malformed: it has the header {name} more than once.")
    host = headers.get(hdrs.HOST)
    if host is not None and not is_host(host):
        raise BadRequest("The request is malformed: its Host is not a host.")
    coding = headers.get(hdrs.TRANSFER_ENCODING)
    if coding is None:
        return
    if head.version == HttpVersion10:
        raise BadRequest("The request is malformed: HTTP/1.0 has no Transfer-Encoding.")
    if coding.strip().lower() != "chunked":
        raise unknown_coding()


def unknown_coding() -> HttpError:
    """Return the error about a transfer coding (RFC 9112, 7) that is not read."""
    return UnsupportedMediaType("The body's Transfer-Encoding is not read; the only one that is, is chunked.")
