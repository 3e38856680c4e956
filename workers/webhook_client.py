"""The HTTP client of webhooks. It trusts neither receivers nor resolvers."""

from __future__ import annotations

import asyncio
import codecs
import errno
import io
import socket
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from broker.deliveries import Outcome, Result
from broker.egress import Guard, url_problem
from broker.errors import ConfigurationError, EgressForbidden
from broker.retries import outcome_of, parse_retry_after
from broker.targets.webhook import Method
from broker.texts import printable

CONNECT_TIMEOUT = timedelta(seconds=5)
READ_LIMIT = 64 * 1024
"""How much of an answer's body is read, in bytes; after a longer body the connection is closed."""
EXCERPT_LIMIT = 1024
"""How much of an answer's body is kept, in bytes."""


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS context that trusts the system's authorities and those in *ca_file*.

    Raises:
        ConfigurationError: *ca_file* cannot be read, or contains no certificate.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise ConfigurationError(f"SIGNAL_BROKER_EGRESS_CA_FILE: {ca_file}: {error.strerror or error}") from error
    return context


class WebhookClient:
    """Calls webhooks and keeps connections for further attempts. An async context manager.

    Names are looked up without threads, so a name server that does not answer holds up no other webhook.

    Args:
        guard: Checks every address when a socket for it is opened, so that the address cannot change in between.
        concurrency: The maximum number of connections.
        per_host: The maximum number of connections to one host and port; 0: any number.
        trusted: The TLS context (see `trust`); None trusts the system's authorities.
        proxy: The proxy to connect through, ``http://user:password@host:port``; see `_by_proxy`.
        nameservers: The name servers (``address:port``) to use instead of the system's.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        concurrency: int,
        per_host: int = 0,
        trusted: ssl.SSLContext | None = None,
        proxy: str | None = None,
        nameservers: Sequence[str] = (),
    ) -> None:
        self._guard = guard
        self._concurrency = concurrency
        self._per_host = per_host
        self._trusted = trusted
        self._proxy = None if proxy is None else URL(proxy)
        self._nameservers = nameservers

    async def __aenter__(self) -> Self:
        # With the defaults, a first look-up of a distant name often has less than two seconds.
        self._resolver = aiohttp.AsyncResolver(nameservers=self._nameservers, timeout=1, tries=4)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver,
                ssl=self._trusted or True,
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
        await self._resolver.close()

    async def send(
        self,
        url: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        timeout: timedelta,
        method: Method = Method.POST,
    ) -> Result:
        """Send *body* to *url* and return the result, whatever the receiver and the network do.

        Redirects are not followed. *timeout* covers everything from the name's lookup to the end of the answer's body
        (or its first 64 KiB), and the connection must be established within 5 s.
        """
        problem = url_problem(url, self._guard)
        if problem is not None:
            return Result(outcome=Outcome.FORBIDDEN, error=_one_line(f"target URL: {problem}"))
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await self._exchange(method, url, body, headers)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _failure(error, timeout)

    async def _exchange(self, method: Method, url: str, body: bytes, headers: Mapping[str, str]) -> Result:
        target, options = URL(url), dict[str, Any](headers=headers)
        if self._proxy is not None:
            target, options = await self._by_proxy(self._proxy, target, headers)
        # aiohttp writes a BytesIO in pieces, but bytes at once (with a warning from 1 MiB on).
        data = io.BytesIO(body) if body else None
        async with self._session.request(method, target, data=data, allow_redirects=False, **options) as response:
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

    async def _by_proxy(self, proxy: URL, url: URL, headers: Mapping[str, str]) -> tuple[URL, dict[str, Any]]:
        """Return the URL and the options of the request to *proxy*, once every address of the host of *url* is checked.

        The proxy looks the name up again. For ``https`` the request avoids that: it asks for a tunnel to the checked
        address, and the certificate proves the name. For ``http`` the name has to be in the request, so the proxy
        itself has to refuse addresses that the name has meanwhile.
        """
        host = url.raw_host or ""
        try:
            found = await self._resolver.resolve(host, url.port or 0, family=socket.AF_UNSPEC)
        except OSError as error:
            raise OSError(_unknown(error)) from error
        addresses = [entry["host"] for entry in found]
        for address in addresses:
            self._guard.check(address)
        credentials = {}
        if proxy.user is not None:
            credentials["Proxy-Authorization"] = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
        proxy = proxy.with_user(None)
        if url.scheme == "http":
            return url, {"proxy": proxy, "headers": {**headers, **credentials}}
        # IPv4 first: only the proxy knows whether it has a route to IPv6.
        return url.with_host(min(addresses, key=lambda address: ":" in address)), {
            "proxy": proxy,
            "proxy_headers": credentials,
            "server_hostname": host.rstrip("."),
            "headers": {**headers, "Host": url.host_port_subcomponent},
        }

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (host, *_) = address
        if self._proxy is None:  # else it is the proxy's own address
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
        # When every address of a name is refused, only the errno of `EgressForbidden` is left.
        case aiohttp.ClientConnectorError(os_error=OSError(errno=errno.EACCES) as refusal):
            outcome, text = Outcome.FORBIDDEN, refusal.strerror or str(refusal)
        case EgressForbidden():
            outcome, text = Outcome.FORBIDDEN, str(error)
        case aiohttp.ClientProxyConnectionError():
            outcome, text = Outcome.UNREACHABLE, "the proxy cannot be reached"
        case aiohttp.ClientHttpProxyError(status=status):
            outcome, text = Outcome.UNREACHABLE, f"the proxy answered HTTP {status}"
        case aiohttp.ConnectionTimeoutError():
            outcome, text = Outcome.UNREACHABLE, f"no connection within {CONNECT_TIMEOUT.total_seconds():g} s"
        case TimeoutError():
            outcome, text = Outcome.TIMED_OUT, f"no complete answer within {timeout.total_seconds():g} s"
        case aiohttp.ClientConnectorDNSError(os_error=reason):
            outcome, text = Outcome.UNREACHABLE, _unknown(reason)
        case aiohttp.ClientConnectorError(os_error=reason):
            outcome, text = Outcome.UNREACHABLE, str(reason)
        case aiohttp.ClientError() | OSError():
            outcome, text = Outcome.UNREACHABLE, str(error) or type(error).__name__
        case _:
            outcome, text = Outcome.FAILED, f"the request could not be made: {error}"
    return Result(outcome=outcome, error=_one_line(text))


def _unknown(error: OSError) -> str:
    return f"the host's name could not be looked up: {error.strerror}"


def _excerpt(body: bytes) -> str | None:
    # Not final: a character that the limit cuts in two is dropped, not replaced.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(body[:EXCERPT_LIMIT])
    return _one_line(text) or None


def _one_line(text: str) -> str:
    """Return *text* without anything that could move a terminal's cursor or forge a line of a log."""
    return " ".join(printable(text[:EXCERPT_LIMIT]).split())
