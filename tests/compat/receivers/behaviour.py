"""One line of the table: what a receiver does, and what has to become of the webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ssl import SSLContext
from typing import Literal

from broker.deliveries import Outcome, Result
from broker.retries import VERDICTS, Verdict
from tests.support.certificates import Authority
from tests.support.raw_receiver import Peer, Script

LARGE = b"x" * 8_000_000
"""A body that the kernel's buffers of a connection do not hold: the receiver has to read for it to be written."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
Then = Literal["stay", "close", "reset", "wait", "hold"]
THEN = {
    Verdict.DELIVERED: "delivered",
    Verdict.RETRIED: "another attempt",
    Verdict.SPARED: "another attempt, later",
    Verdict.DISABLED: "dead; the subscription is disabled",
}


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a receiver does, and what is expected.

    Args:
        receiver: What it does, as a predicate.
        scripts: It, and variants that are to have the same result.
        outcome: The expected outcome,
        status: ... status,
        error: ... error text; ``closed or reset`` in it stands for either, where the kernel decides which,
        excerpt: ... excerpt,
        retry_after: ... and pause that the receiver asks for.
        requests: How many requests the receiver gets to read.
        before: How many webhooks are sent, and have to be delivered, before the one that is looked at.
        reused: Whether that one has to go over a connection that was used before.
        body: The webhook's body.
        within: How many seconds the attempt may take.
        tls: The receiver's TLS context, made by the authority that the client trusts.
        url: Where the webhook goes; ``{base}`` and ``{port}`` are the receiver's.
    """

    receiver: str
    scripts: tuple[Script, ...]
    outcome: Outcome
    status: int | None
    error: str | None
    excerpt: str | None
    retry_after: timedelta | None
    requests: int
    before: int
    reused: bool
    body: bytes
    within: float
    tls: Callable[[Authority], SSLContext] | None
    url: str

    @property
    def expected(self) -> tuple[object, ...]:
        """What `observed` has to return."""
        error = None if self.error is None else self.error.replace("closed or reset", "closed")
        return self.outcome, self.status, error, self.excerpt, self.retry_after, self.requests, self.reused, self.resent

    @property
    def resent(self) -> bool:
        """Whether the request has to go out twice, and the record to say why."""
        return self.requests > self.before + 1

    def observed(self, result: Result, *, requests: int) -> tuple[object, ...]:
        """Return what there is to compare of *result*."""
        error = result.error
        if error is not None and "closed or reset" in (self.error or ""):
            error = error.replace("reset", "closed")
        exchange = result.exchange
        reused, resent = exchange is not None and exchange.reused, exchange is not None and exchange.resent is not None
        return result.outcome, result.status, error, result.excerpt, result.retry_after, requests, reused, resent

    @property
    def cells(self) -> tuple[str, ...]:
        """Its cells in the table of docs/webhooks.md."""
        then = THEN[VERDICTS[self.outcome]]
        if self.retry_after is not None and VERDICTS[self.outcome] is not Verdict.DELIVERED:
            then += f", after at least {self.retry_after.total_seconds():g} s"
        if self.resent:
            then += "; the request went out twice"
        variants = f" ({len(self.scripts)} variants)" if len(self.scripts) > 1 else ""
        error = "" if self.error is None else self.error.replace("|", "\\|")
        status = "" if self.status is None else f"{self.status:03}"
        return self.receiver + variants, status, f"`{self.outcome.value}`", error, then


def row(
    receiver: str,
    *scripts: Script | bytes,
    outcome: Outcome = Outcome.SUCCEEDED,
    status: int | None = None,
    error: str | None = None,
    excerpt: str | None = None,
    retry_after: float | None = None,
    requests: int = 1,
    before: int = 0,
    reused: bool = False,
    body: bytes = b"{}",
    within: float = 30,
    tls: Callable[[Authority], SSLContext] | None = None,
    url: str = "{base}/hook?sig=s3cr3t",
) -> Behaviour:
    """Return a line; *scripts* that are bytes are the answer to every request. A success is a 200 unless it is said."""
    return Behaviour(
        receiver=receiver,
        scripts=tuple(says(script) if isinstance(script, bytes) else script for script in scripts),
        outcome=outcome,
        status=200 if status is None and outcome is Outcome.SUCCEEDED else status,
        error=error,
        excerpt=excerpt,
        retry_after=None if retry_after is None else timedelta(seconds=retry_after),
        requests=requests + before,
        before=before,
        reused=reused,
        body=body,
        within=within,
        tls=tls,
        url=url,
    )


def unreachable(receiver: str, *scripts: Script | bytes, error: str, **options: object) -> Behaviour:
    """Return a line of a webhook without an answer."""
    return row(receiver, *scripts, outcome=Outcome.UNREACHABLE, error=error, **options)


def says(*pieces: bytes, then: Then = "stay", pause: float = 0) -> Script:
    """Return the script of a receiver that reads requests and answers *pieces*, *pause* seconds apart.

    After an answer it reads the next request (``stay``), closes or resets the connection, reads without answering until
    that is closed (``wait``), or does not even read (``hold``).
    """

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces, pause=pause)
            if then != "stay":
                return await end(peer, then)

    return script


async def end(peer: Peer, then: Then) -> None:
    """End the connection as *then* says."""
    if then == "hold":
        await asyncio.Event().wait()
    elif then == "wait":
        await peer.wait_lost()
    elif then == "reset":
        await asyncio.sleep(0.2)  # until the client has read what was sent before
        peer.reset()
    else:
        peer.close()
