"""The HTTP client of webhooks. It trusts neither receivers nor resolvers."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Self

import structlog

from broker import metrics
from broker.deliveries import Exchange, Outcome, Result
from broker.echoes import Echoes
from broker.egress import Guard, url_problem
from broker.redaction import credentials_of, hide_credentials, hide_credentials_of_url
from broker.retries import outcome_of, parse_retry_after
from broker.targets.webhook import Method
from workers.webhooks.answers import AnswerReader, Head, one_line
from workers.webhooks.connection import Connection
from workers.webhooks.dialing import Dialer, Progress
from workers.webhooks.failures import Failure, Stale
from workers.webhooks.pool import Pool
from workers.webhooks.time_limits import TimeLimit
from workers.webhooks.urls import Destination, parse_url

log = structlog.get_logger()

_DEFAULTS = {"User-Agent": "signal-broker", "Accept": "*/*", "Accept-Encoding": "identity"}
"""Headers that every request has, unless it sets them itself."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_RETRY_AFTERS = 10
"""How many ``Retry-After`` of an answer are read; the longest holds."""
_RETRY_AFTER_LIMIT = 256
"""How much of a ``Retry-After`` is shown, in characters."""


class WebhookClient:
    """Calls webhooks and keeps connections for further attempts. An async context manager.

    Args:
        guard: Checks every address when a socket for it is opened, so that the address cannot change in between.
        concurrency: How many requests are made at the same time; connections beyond that are not kept.
        trusted: The TLS context (see `workers.webhooks.dialing.trust`); None trusts the system's authorities.
        proxy: The proxy to connect through, ``http://user:password@host:port``.
        nameservers: The name servers (``address:port``) to use instead of the system's.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        concurrency: int,
        trusted: ssl.SSLContext | None = None,
        proxy: str | None = None,
        nameservers: Sequence[str] = (),
    ) -> None:
        self._guard = guard
        self._pool = Pool(concurrency)
        self._dialer = Dialer(guard, trusted=trusted, proxy=proxy, nameservers=nameservers)
        self._destination = lru_cache(maxsize=1000)(self._read)

    async def __aenter__(self) -> Self:
        await self._dialer.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()
        await self._dialer.__aexit__()

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
        (or its first 64 KiB); each phase of connecting may take 5 s. A 2xx is success as soon as its head is there.

        A request goes out twice in one attempt if a connection that was kept turns out to be unusable
        (RFC 9112, 9.3.1); receivers know the second one by its ``webhook-id``.
        """
        result, _ = await self._send(url, body=body, headers=headers, timeout=timeout, method=method.value)
        return result

    async def ask(
        self, url: str, *, origin: str, headers: Mapping[str, str], timeout: timedelta
    ) -> tuple[Result, bool]:
        """Ask the receiver at *url*, by OPTIONS with *headers*, whether *origin* may send, and return whether it may.

        The result tells why not; it is never a success then, because the status of an answer gives no permission.
        """
        result, head = await self._send(url, body=b"", headers=headers, timeout=timeout, method="OPTIONS")
        allowed = [] if head is None else [name.strip().lower() for name in head.all(b"webhook-allowed-origin")]
        if not {"*", origin.lower()}.isdisjoint(allowed):
            return result, True
        if head is not None:
            outcome = Outcome.REFUSED if result.outcome is Outcome.SUCCEEDED else result.outcome
            error = f"HTTP {head.status}: the receiver does not allow {origin} to send (WebHook-Allowed-Origin)"
            result = replace(result, outcome=outcome, error=error)
        return result, False

    async def _send(
        self, url: str, *, body: bytes, headers: Mapping[str, str], timeout: timedelta, method: str
    ) -> tuple[Result, Head | None]:
        """Return the result of a request, and the head of its answer if there is one."""
        destination = self._destination(url)
        if isinstance(destination, str):
            return Result(outcome=Outcome.FORBIDDEN, error=one_line(f"target URL: {destination}")), None
        fields = _fields(destination, headers, len(body))
        problem = next((name for name, value in fields.items() if not _is_header(name, value)), None)
        if problem is not None:
            error = one_line(f"the request could not be made: the header {problem} has a character that is not allowed")
            return Result(outcome=Outcome.FAILED, error=error), None
        call = _Call(url, destination, fields, self._dialer.proxy_headers)
        head = f"{method} {self._dialer.request_target(destination)} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in {**fields, **self._forwarding(destination)}.items()
        )
        self._pool.busy += 1
        try:
            async with TimeLimit(timeout):
                await self._make(call, f"{head}\r\n".encode(), body)
        except Failure as failure:
            return call.failed(failure), None
        except TimeoutError:
            return call.timed_out(timeout), None
        except OSError as error:
            return call.failed(Failure(f"no connection: {error.strerror or error}")), None
        finally:
            self._pool.busy -= 1
            self._pool.shrink()
        return call.answered(), call.reading.head

    def _read(self, url: str) -> Destination | str:
        """Return where *url* leads, or why it cannot be a target."""
        return url_problem(url, self._guard) or parse_url(url)

    def _forwarding(self, destination: Destination) -> Mapping[str, str]:
        """Return the headers for the proxy, if the request itself goes to it."""
        return self._dialer.proxy_headers if destination.scheme == "http" else {}

    async def _make(self, call: _Call, head: bytes, body: bytes) -> None:
        try:
            await self._exchange(call, self._pool.take(call.destination.origin) or await self._dial(call), head, body)
        except Stale as reason:
            metrics.REPEATS.labels(metrics.Repeat.RECONNECTED).inc()
            call.connection, call.reading, call.resent = None, AnswerReader(), call.shown(str(reason))
            log.info("webhook.resent", host=call.destination.host, reason=call.resent)
            await self._exchange(call, await self._dial(call), head, body)

    async def _dial(self, call: _Call) -> Connection:
        self._pool.shrink()
        return await self._dialer.dial(call.destination, call.progress)

    async def _exchange(self, call: _Call, connection: Connection, head: bytes, body: bytes) -> None:
        call.connection = connection
        try:
            await connection.exchange(head, body, call.reading)
        except BaseException:
            connection.abort()
            raise
        if connection.kept:
            self._pool.keep(call.destination.origin, connection)
        else:
            connection.abort()


class _Call:
    """A request that is made, and what is known of it so far. No text that it returns shows the request's credentials.

    Args:
        url: The URL that is called.
        destination: What it means.
        fields: The headers that are sent.
        proxy_fields: Those that a proxy is sent, if there is one.
    """

    def __init__(
        self, url: str, destination: Destination, fields: Mapping[str, str], proxy_fields: Mapping[str, str]
    ) -> None:
        self.destination = destination
        self.progress = Progress()
        self.connection: Connection | None = None
        self.reading = AnswerReader()
        self.resent: str | None = None
        """Why the request goes out once more."""
        self._began_at = time.perf_counter()
        self._url = url
        self._fields = fields
        self._proxy_fields = proxy_fields

    def shown(self, text: str) -> str:
        """Return *text*, which the receiver may have made, as one safe line."""
        return self._echoes.hide(one_line(text))

    @cached_property
    def _echoes(self) -> Echoes:
        return Echoes(credentials_of(self._url, {**self._fields, **self._proxy_fields}))

    def answered(self, fault: str | None = None) -> Result:
        """Return the result of an answer; *fault* tells what is wrong with its body, as a predicate."""
        head, fault = self.reading.head, fault or self.reading.fault
        if head is None:
            return self.failed(Failure("there is no answer"))
        outcome = outcome_of(head.status)
        error = None if outcome is Outcome.SUCCEEDED else f"HTTP {head.status} {head.reason}"
        if fault is not None:
            error = f"answered {head.status}, but its body {fault}" if error is None else f"{error}; its body {fault}"
        asked = head.all(b"retry-after")[:_RETRY_AFTERS]
        pauses = [pause for text in asked if (pause := parse_retry_after(text, datetime.now(UTC))) is not None]
        excerpt = head.excerpt(self.reading.body)
        return Result(
            outcome=outcome,
            status=head.status,
            error=None if error is None else self.shown(error),
            excerpt=None if excerpt is None else self.shown(excerpt),
            retry_after=max(pauses, default=None),
            exchange=self._record(),
        )

    def failed(self, failure: Failure) -> Result:
        """Return the result of a request without an answer."""
        return Result(outcome=failure.outcome, error=self.shown(str(failure)), exchange=self._record())

    def timed_out(self, timeout: timedelta) -> Result:
        """Return the result of a request whose time is up."""
        within = f"within {timeout.total_seconds():g} s"
        head = self.reading.head
        if self.connection is None or head is None:
            return self.failed(Failure(f"{self._lacks()} {within}", Outcome.TIMED_OUT))
        if self.connection.sent or head.status >= 400:
            return self.answered(None if self.reading.ended else f"did not end {within}")
        return self.failed(Failure(f"the receiver answered {head.status}, but did not take the whole request {within}"))

    def _lacks(self) -> str:
        """Return what there is not yet, as a clause."""
        if self.connection is None or self.connection.heard_at is not None:
            return self.progress.lacks or "no complete answer"
        return "no answer" if self.connection.sent else "the receiver did not take the whole request"

    def _record(self) -> Exchange:
        connection, head, phases = self.connection, self.reading.head, self.progress.phases
        if connection is not None and connection.heard_at is not None:
            phases["firstByte"] = connection.heard_at - connection.sent_at
        phases["total"] = time.perf_counter() - self._began_at
        return Exchange(
            url=hide_credentials_of_url(self._url),
            request_headers=hide_credentials(self._fields),
            location=self._location(head) if head else None,
            retry_after=self.shown(", ".join(head.all(b"retry-after"))[:_RETRY_AFTER_LIMIT]) or None if head else None,
            address=connection.address if connection else self.progress.address,
            tls=connection.tls if connection else None,
            reused=connection is not None and connection.reused,
            resent=self.resent,
            phases={name: round(seconds, 6) for name, seconds in phases.items()},
        )

    def _location(self, head: Head) -> str | None:
        """Return where a redirect leads."""
        location = head.get(b"location") if 300 <= head.status < 400 else None
        return None if location is None else self.shown(hide_credentials_of_url(one_line(location)))


def _fields(destination: Destination, headers: Mapping[str, str], size: int) -> dict[str, str]:
    """Return all headers of a request with a body of *size* bytes."""
    own = {name.lower() for name in headers}
    defaults = {name: value for name, value in _DEFAULTS.items() if name.lower() not in own}
    return {"Host": destination.authority, **headers, **defaults, "Content-Length": str(size)}


def _is_header(name: str, value: str) -> bool:
    return _HEADER_NAME.fullmatch(name) is not None and _HEADER_VALUE.fullmatch(value) is not None
