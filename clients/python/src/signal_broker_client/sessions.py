"""What both clients need of a connection: where it goes, who calls, and how long it waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import httpx

from .errors import ClientError
from .requests import MAX_ANSWER_BYTES, Answer

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors after which the server cannot have got the request."""
TAIL_TIMEOUT = httpx.Timeout(10, read=60)
"""The server sends a comment every 15 seconds to those who follow signals."""


def url_of(url: str) -> str:
    """Return *url* without a slash at its end.

    Raises:
        ValueError: It is no URL of HTTP.
    """
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise ValueError(f"url must begin with http:// or https://, not {url!r}")
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL as error:
        raise ValueError(f"url is invalid: {error}") from None
    if not host:
        raise ValueError(f"url has no host: {url!r}")
    return url.rstrip("/")


def host_of(url: str) -> str:
    """Return the host and the port of *url*."""
    return httpx.URL(url).netloc.decode()


def headers_of(token: str) -> dict[str, str]:
    """Return the headers of every request of a caller with *token*.

    Raises:
        ValueError: It cannot be a token.
    """
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("token must be 1 or more printable ASCII characters without spaces")
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return *headers* as they are sent."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def answer_of(response: httpx.Response, body: bytes | None) -> Answer:
    """Return *response* with its *body*, as both clients read it."""
    headers = response.headers
    return Answer(response.status_code, headers.get("Retry-After"), headers.get("Location"), body)


class Body:
    """The body of an answer, which has *timeout* seconds to arrive."""

    def __init__(self, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + timeout
        self._bytes = bytearray()

    def add(self, piece: bytes) -> None:
        """Add *piece*.

        Raises:
            ClientError: The body is longer than any answer.
            httpx.ReadTimeout: The time is over.
        """
        self._bytes += piece
        if len(self._bytes) > MAX_ANSWER_BYTES:
            raise ClientError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        if self._clock() > self._end:
            raise httpx.ReadTimeout("the answer took too long")

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)
