"""New connections to receivers: names, addresses, TLS and the proxy."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohappyeyeballs import AddrInfoType, start_connection
from cachetools import TTLCache
from yarl import URL

from broker.deliveries import Outcome
from broker.egress import Guard
from broker.errors import ConfigurationError, EgressForbidden
from workers.webhooks.answers import AnswerReader
from workers.webhooks.connection import Connection
from workers.webhooks.failures import Failure
from workers.webhooks.time_limits import TimeLimit
from workers.webhooks.urls import Destination

PHASE_LIMIT = timedelta(seconds=5)
"""How long each phase of connecting may take: looking up the name, connecting, TLS."""
_ATTEMPT_DELAY = 0.25
"""Seconds until a connection to a name's next address is begun beside the one before (RFC 8305)."""
_HOSTS_FILE = Path("/etc/hosts")
_NAMES_KEPT = 1000
_NAME_KEPT = 10
"""For how many seconds a name's addresses are used again."""


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


class Progress:
    """How far a request has come on its way to a connection.

    Attributes:
        phases: The seconds that ``dns``, ``connect`` and ``tls`` took, as far as they took place.
        lacks: What there is not yet, as a clause, while it is waited for.
        address: The receiver's address and port, once it is known which one is connected to.
    """

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self.lacks: str | None = None
        self.address: str | None = None


class Dialer:
    """Opens connections. An async context manager.

    Names are looked up without threads, so a name server that does not answer holds up no other webhook.

    Args:
        guard: Checks every address when a socket for it is opened, so that the address cannot change in between.
        trusted: The TLS context (see `trust`); None trusts the system's authorities.
        proxy: The proxy to connect through, ``http://user:password@host:port``; see `_by_proxy`.
        nameservers: The name servers (``address:port``) to use instead of the system's.
    """

    def __init__(
        self, guard: Guard, *, trusted: ssl.SSLContext | None, proxy: str | None, nameservers: Sequence[str]
    ) -> None:
        self._guard = guard
        self._trusted = trusted
        self._proxy = None if proxy is None else URL(proxy)
        self._nameservers = nameservers

    async def __aenter__(self) -> Self:
        # With the defaults, a first look-up of a distant name often has less than two seconds.
        self._resolver = aiohttp.AsyncResolver(nameservers=self._nameservers, timeout=1, tries=4)
        self._lookups: TTLCache[str, asyncio.Task[list[str]]] = TTLCache(_NAMES_KEPT, _NAME_KEPT)
        return self

    async def __aexit__(self, *_: object) -> None:
        for lookup in self._lookups.values():
            lookup.cancel()
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)
        await self._resolver.close()

    @property
    def proxy_headers(self) -> dict[str, str]:
        """The headers with which the proxy is asked."""
        if self._proxy is None or self._proxy.user is None:
            return {}
        credentials = f"{self._proxy.user}:{self._proxy.password or ''}".encode()
        return {"Proxy-Authorization": f"Basic {base64.b64encode(credentials).decode()}"}

    def request_target(self, destination: Destination) -> str:
        """Return how a request names its target: with the host if a proxy has to know it."""
        if self._proxy is None or destination.scheme == "https":
            return destination.target
        return f"http://{destination.authority}{destination.target}"

    async def dial(self, destination: Destination, progress: Progress) -> Connection:
        """Return a connection to *destination*.

        How far it comes is noted in *progress*.

        Raises:
            Failure: There is none.
        """
        addresses = await self._addresses(destination.host, progress)
        if self._proxy is not None:
            return await self._by_proxy(self._proxy, destination, addresses, progress)
        if len(addresses) == 1:
            progress.address = _name(addresses[0], destination.port)
        async with _phase("connect", progress, "no connection"):
            opened = await _open(addresses, destination.port, self._guard)
        progress.address = _name(*opened.getpeername()[:2])
        if destination.scheme == "http":
            return await _connection(opened)
        async with self._handshake(progress) as trusted:
            return await _connection(opened, ssl=trusted, server_hostname=destination.server_name)

    async def _by_proxy(
        self, proxy: URL, destination: Destination, addresses: Sequence[str], progress: Progress
    ) -> Connection:
        """Return a connection by *proxy*, once every one of *addresses* is checked.

        The proxy looks the name up again. For ``https`` the request avoids that: it asks for a tunnel to the checked
        address, and the certificate proves the name. For ``http`` the name has to be in the request, so the proxy
        itself has to refuse addresses that the name has meanwhile.
        """
        try:
            for address in addresses:
                self._guard.check(address)
        except EgressForbidden as error:
            raise Failure(str(error), Outcome.FORBIDDEN) from error
        try:
            async with _phase("connect", progress, "no connection to the proxy"):
                connection = await _connection(
                    await _open(await self._lookup(proxy.raw_host or ""), proxy.port or 80, None)
                )
        except (Failure, OSError) as error:
            raise Failure("the proxy cannot be reached") from error
        connection.address = None  # it is the proxy's
        if destination.scheme == "http":
            return connection
        # IPv4 first: only the proxy knows whether it has a route to IPv6.
        progress.address = address = _name(min(addresses, key=lambda address: ":" in address), destination.port)
        lines = [f"CONNECT {address} HTTP/1.1", f"Host: {address}"]
        lines += [f"{name}: {value}" for name, value in self.proxy_headers.items()]
        async with _phase("connect", progress, "the proxy made no tunnel"), _closing(connection):
            reading = AnswerReader(tunnel=True)
            try:
                await connection.exchange("\r\n".join([*lines, "", ""]).encode(), b"", reading)
            except Failure as error:
                raise Failure(f"the proxy made no tunnel: {error}") from error
            if reading.head is None or not 200 <= reading.head.status < 300:
                raise Failure(f"the proxy answered HTTP {reading.head.status if reading.head else 'nothing'}")
        async with self._handshake(progress) as trusted, _closing(connection):
            await connection.begin_tls(trusted, destination.server_name)
        connection.address = address
        return connection

    @asynccontextmanager
    async def _handshake(self, progress: Progress) -> AsyncIterator[ssl.SSLContext]:
        """Measure and limit what begins TLS in the block, and tell why it fails."""
        if self._trusted is None:
            self._trusted = trust(None)
        async with _phase("tls", progress, "no TLS handshake"):
            try:
                yield self._trusted
            except ssl.SSLCertVerificationError as error:
                raise Failure(f"TLS: {error.verify_message.rstrip('.')} (CERTIFICATE_VERIFY_FAILED)") from error
            except ssl.SSLError as error:
                reason = error.reason or "UNKNOWN"
                raise Failure(f"TLS: {reason.replace('_', ' ').lower()} ({reason})") from error
            except OSError as error:
                raise Failure("TLS: the receiver closed the connection during the handshake") from error

    async def _addresses(self, host: str, progress: Progress) -> list[str]:
        try:
            ip_address(host)
        except ValueError:
            async with _phase("dns", progress, "no address of the host's name"):
                try:
                    return await self._lookup(host)
                except OSError as error:
                    raise Failure(f"the host's name could not be looked up: {error.strerror}") from error
        return [host]

    async def _lookup(self, host: str) -> list[str]:
        lookup = self._lookups.get(host)
        if lookup is None or (lookup.done() and (lookup.cancelled() or lookup.exception() is not None)):
            lookup = self._lookups[host] = asyncio.create_task(self._resolve(host))
            lookup.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, if nothing waits for it
        return await asyncio.shield(lookup)

    async def _resolve(self, host: str) -> list[str]:
        """Return the addresses of *host*. One that ends in a dot is looked up as it is, without any search list."""
        name = host.rstrip(".")
        if host != name and (addresses := _in_hosts_file(name)):
            return addresses
        # The resolver knows what is called localhost (RFC 6761), but not with a dot.
        local = name == "localhost" or name.endswith(".localhost")
        found = await self._resolver.resolve(name if local else host, family=socket.AF_UNSPEC)
        return [entry["host"] for entry in found]


def _in_hosts_file(name: str) -> list[str]:
    """Return the addresses of *name* in /etc/hosts, whose names have no final dot."""
    try:
        lines = _HOSTS_FILE.read_text(errors="replace").lower().splitlines()
    except OSError:
        return []
    entries = [line.partition("#")[0].split() for line in lines]
    return [entry[0] for entry in entries if name in entry[1:]]


async def _open(addresses: Sequence[str], port: int, guard: Guard | None) -> socket.socket:
    """Return a socket that is connected to one of *addresses*.

    Raises:
        Failure: None can be connected to.
    """

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (host, *_) = info
        if guard is not None:
            guard.check(str(host))
        return socket.socket(family, kind, protocol)

    infos: list[AddrInfoType] = [
        (
            socket.AF_INET6 if ":" in address else socket.AF_INET,
            socket.SOCK_STREAM,
            socket.IPPROTO_TCP,
            "",
            (address, port, 0, 0) if ":" in address else (address, port),
        )
        for address in addresses
    ]
    try:
        return await start_connection(infos, happy_eyeballs_delay=_ATTEMPT_DELAY, socket_factory=make)
    except OSError as error:
        # When every address of a name is refused, only the errno of `EgressForbidden` is left.
        if error.errno == errno.EACCES:
            raise Failure(_each(error.strerror or str(error)), Outcome.FORBIDDEN) from error
        reason = _each(str(error)) if error.errno is None else os.strerror(error.errno).lower()
        raise Failure(f"no connection: {reason}") from error
    except RuntimeError as error:
        raise Failure(f"no connection: {error}") from error


def _each(reasons: str) -> str:
    """Return the reasons of several addresses without saying that they are several."""
    return reasons.removeprefix("Multiple exceptions: ")


async def _connection(opened: socket.socket, **tls: Any) -> Connection:
    try:
        address = _name(*opened.getpeername()[:2])
        _, connection = await asyncio.get_running_loop().create_connection(Connection, sock=opened, **tls)
    except BaseException:
        opened.close()
        raise
    connection.address = address
    return connection


@asynccontextmanager
async def _phase(name: str, progress: Progress, problem: str) -> AsyncIterator[None]:
    """Measure a phase of connecting, and limit its duration."""
    start, progress.lacks = time.perf_counter(), problem
    try:
        async with TimeLimit(PHASE_LIMIT):
            yield
        progress.lacks = None
    except TimeoutError as error:
        raise Failure(f"{problem} within {PHASE_LIMIT.total_seconds():g} s") from error
    finally:
        progress.phases[name] = progress.phases.get(name, 0.0) + time.perf_counter() - start


@asynccontextmanager
async def _closing(connection: Connection) -> AsyncIterator[None]:
    """Close *connection* if the block fails."""
    try:
        yield
    except BaseException:
        connection.abort()
        raise


def _name(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
