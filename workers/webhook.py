"""The HTTP client of webhooks: it trusts nothing that a receiver, or a resolver, can do to it."""

from __future__ import annotations

import asyncio
import codecs
import errno
import io
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import aiohttp

from broker.deliveries import Outcome, Result, outcome_of, parse_retry_after
from broker.egress import Guard

CONNECT_TIMEOUT = timedelta(seconds=5)
READ_LIMIT = 64 * 1024
"""How much of an answer's body is read; the connection of a longer one is closed."""
EXCERPT_LIMIT = 1024
"""How much of an answer's body is kept, in bytes."""


class WebhookClient:
    """Posts to webhooks over connections that are kept for the next attempt. An async context manager.

    Args:
        guard: Asked about every address, at the moment a socket for it is opened: nothing can come between.
        concurrency: Most connections at a time.
        per_host: Most connections to one host and port; waiting for one counts as connecting.
    """

    def __init__(self, guard: Guard, *, concurrency: int, per_host: int = 50) -> None:
        self._guard = guard
        self._concurrency = concurrency
        self._per_host = per_host

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=self._open_socket,
                limit=self._concurrency,
                limit_per_host=self._per_host,
                # Many servers drop idle connections after 5 s; a POST that meets one just dropped is a failed attempt.
                keepalive_timeout=4,
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT.total_seconds()),
            headers={"User-Agent": "signal-broker", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str], timeout: timedelta) -> Result:
        """Post *body* to *url* and return what came of it, whatever the receiver and the network do.

        Redirects are not followed. *timeout* covers everything from the name's lookup to the end of the answer's body
        (or its first 64 KiB), and the connection must stand within 5 s.
        """
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await self._exchange(url, body, headers)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _failure(error, timeout)

    async def _exchange(self, url: str, body: bytes, headers: Mapping[str, str]) -> Result:
        # aiohttp writes a BytesIO in pieces, but bytes in one go (and warns of it from 1 MiB on).
        async with self._session.post(url, data=io.BytesIO(body), headers=headers, allow_redirects=False) as response:
            answer = await _read(response)
        outcome = outcome_of(response.status)
        retry_after = response.headers.get("Retry-After")
        return Result(
            outcome=outcome,
            status=response.status,
            error=None if outcome is Outcome.SUCCEEDED else _one_line(f"HTTP {response.status} {response.reason}"),
            excerpt=_excerpt(answer) if "Content-Encoding" not in response.headers else None,
            retry_after=None if retry_after is None else parse_retry_after(retry_after, datetime.now(UTC)),
        )

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (host, *_) = address
        self._guard.check(str(host))
        return socket.socket(family, kind, protocol)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the answer's body up to `READ_LIMIT`; aiohttp closes the connection of a longer one on release."""
    body = bytearray()
    while len(body) < READ_LIMIT and (chunk := await response.content.readany()):
        body += chunk
    return bytes(body)


def _failure(error: Exception, timeout: timedelta) -> Result:
    match error:
        # Of `EgressForbidden` the errno is left when every address of a name was refused.
        case aiohttp.ClientConnectorError(os_error=OSError(errno=errno.EACCES) as refusal):
            outcome, text = Outcome.FORBIDDEN, str(refusal)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            outcome, text = Outcome.FORBIDDEN, f"not a webhook's URL: {error}"
        case aiohttp.ConnectionTimeoutError():
            outcome, text = Outcome.UNREACHABLE, f"no connection within {CONNECT_TIMEOUT.total_seconds():g} s"
        case TimeoutError():
            outcome, text = Outcome.TIMED_OUT, f"no complete answer within {timeout.total_seconds():g} s"
        case aiohttp.ClientConnectorError(os_error=reason):
            outcome, text = Outcome.UNREACHABLE, str(reason)
        case aiohttp.ClientError() | OSError():
            outcome, text = Outcome.UNREACHABLE, str(error) or type(error).__name__
        case _:
            outcome, text = Outcome.FAILED, f"the request could not be made: {error}"
    return Result(outcome=outcome, error=_one_line(text))


def _excerpt(body: bytes) -> str | None:
    # Not final: a character that the limit cuts in two is left out instead of being replaced.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(body[:EXCERPT_LIMIT])
    return _one_line(text) or None


def _one_line(text: str) -> str:
    """Return *text* without anything that could move a terminal's cursor or forge a line of a log."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:EXCERPT_LIMIT]).split())
