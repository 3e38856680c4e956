"""The HTTP session in which spans go to a collector, which may be broken or hostile.

A request ends at its timeout, while `requests` alone bounds only each operation on the socket. A few KB of an answer
are read, and none of it is decoded: the status says all. Redirects are not followed, since the headers may hold
credentials, and cookies are not kept.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from requests import ReadTimeout, Response, Session, TooManyRedirects
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

_MOST_BYTES = 16 << 10
"""How much of an answer is read, so that its connection can be used again; a longer answer costs the connection."""
_AGAIN = 0.1
"""How many seconds after a request's end its connection is ended again: it may have been opened since."""

_connections: ContextVar[list[HTTPConnection] | None] = ContextVar("_connections", default=None)
"""The connections of the request that this thread sends."""


def open_session() -> Session:
    """Return a session for `OTLPSpanExporter`."""
    session = Session()
    session.stream = True  # else it reads, and inflates, what the adapter leaves
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    for name in ("urllib3.connection", "urllib3.connectionpool"):
        # They would repeat an answer's malformed headers, and the URL, for each batch.
        logging.getLogger(name).addFilter(_is_of_others)
    return session


def _is_of_others(_record: logging.LogRecord) -> bool:
    return _connections.get() is None


class _Noted(HTTPConnection):
    """A connection that is known to the request that uses it."""

    def connect(self) -> None:
        self._note()
        super().connect()

    def request(self, *args: Any, **options: Any) -> None:
        self._note()
        super().request(*args, **options)

    def _note(self) -> None:
        known = _connections.get()
        if known is not None:
            known.append(self)


class _NotedHTTPS(_Noted, HTTPSConnection):
    pass


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = _NotedHTTPS if isinstance(pool, HTTPSConnectionPool) else _Noted
        return pool

    def send(self, *args: Any, **options: Any) -> Response:
        """Send a request; return an answer that is read as far as it will be.

        Raises:
            RequestException: It could not be sent, or was not answered within the seconds of its `timeout`.
            TooManyRedirects: It was answered by a redirect, which OpenTelemetry would take for a success.
        """
        with _ending_after(options["timeout"]) as has_ended:
            response = super().send(*args, **options)
            with closing(response):
                if has_ended.is_set():  # `http.client` takes the end of a connection for the end of the headers
                    raise ReadTimeout("did not answer in time")
                with suppress(HTTPError, OSError):
                    response.raw.read(_MOST_BYTES, decode_content=False)
        if 300 <= response.status_code < 400:
            raise TooManyRedirects(f"HTTP {response.status_code}, and redirects are not followed")
        return response


@contextmanager
def _ending_after(seconds: float) -> Iterator[threading.Event]:
    """End the connections of the request in the block after *seconds*, so that what waits for them fails.

    What it yields is set then.
    """
    is_over, has_ended = threading.Event(), threading.Event()
    known: list[HTTPConnection] = []

    def watch() -> None:
        pause = seconds
        while not is_over.wait(pause):
            pause = _AGAIN
            has_ended.set()
            for connection in known:
                _end(connection)

    token = _connections.set(known)
    threading.Thread(target=watch, name="tracing:deadline", daemon=True).start()
    try:
        yield has_ended
    finally:
        is_over.set()
        _connections.reset(token)


def _end(connection: HTTPConnection) -> None:
    ends: Any = getattr(connection.sock, "socket", connection.sock)  # it is wrapped where TLS goes through a TLS proxy
    if ends is not None:
        with suppress(OSError):
            # An SSLSocket's own method would take its state away from the thread that reads.
            socket.socket.shutdown(ends, socket.SHUT_RDWR)
