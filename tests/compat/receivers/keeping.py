"""Receivers that keep their connections, or seem to."""

from __future__ import annotations

import asyncio
from functools import partial

from broker.deliveries import Outcome
from tests.compat.receivers.answers import SILENT, TOO_LARGE, ok, sized
from tests.compat.receivers.behaviour import LARGE, OK, Then, end, row, says, unreachable
from tests.compat.receivers.ending import NOT_UNDERSTOOD, TAKEN
from tests.support.raw_receiver import Peer, Script


def first(
    then: Then, *strays: bytes, answer: bytes = OK, next_time: bytes | None = None, only_head: bool = False
) -> Script:
    """Return the script of a receiver whose first connection does something else than the others after an answer.

    It sends *strays*, or answers the next request with *next_time*, and then ends as *then* says.
    """

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        if peer.number == 1:
            if strays:
                await asyncio.sleep(0.1)
                await peer.send(*strays)
            elif only_head:
                await peer.head()
                await peer.send(next_time or b"")
            elif next_time is not None:
                await peer.request()
                await peer.send(next_time)
            await end(peer, then)
        else:
            await says(answer)(peer)

    return script


async def skips_bodies(peer: Peer) -> None:
    """As Python's http.server does with HTTP/1.1 if the handler does not read: the body begins the next request."""
    await peer.head()
    await peer.send(OK)
    if (await peer.line()).startswith(b"{}POST"):
        await peer.head()
        await peer.send(b"HTTP/1.1 501 Unsupported method ('{}POST')\r\nConnection: close\r\n\r\n")


async def refuses_seconds(peer: Peer) -> None:
    """Take one request on each connection and close it at the second."""
    await peer.request()
    await peer.send(OK)
    await peer.request()


async def dislikes_seconds(refusal: bytes, peer: Peer) -> None:
    """Answer *refusal* to everything but the very first request, and close."""
    if peer.number == 1:
        await peer.request()
        await peer.send(OK)
    await says(refusal, then="close")(peer)


KEPT = (
    row("keeps the connection", OK, before=1, reused=True),
    row(
        "keeps the connection, and answers with bodies",
        TAKEN,
        ok("Transfer-Encoding: chunked\r\n", b"5\r\ntaken\r\n0\r\n\r\n"),
        before=2,
        reused=True,
        excerpt="taken",
    ),
    row(
        "keeps the connection, and answers 204 with a length",
        b"HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n",
        before=1,
        reused=True,
        status=204,
    ),
    row(
        "keeps the connection, and speaks HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        before=1,
        reused=True,
    ),
    row("keeps the connection, and takes large bodies", OK, before=2, reused=True, body=LARGE),
    row(
        "closes the connection after each answer, with or without saying so",
        says(OK, then="close"),
        says(sized("Connection: close\r\n"), then="close"),
        says(sized("Connection: close\r\n"), then="wait"),
        before=2,
    ),
    row(
        "sends anything more on the idle connection",
        *(
            first("wait", stray)
            for stray in (
                OK,
                b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
                b"HTTP/1.1 408 Slow\r\nConnection: close\r\n\r\n",
                NOT_UNDERSTOOD,
                b"HTTP/1.1",
                b"\r\n",
                b"\0",
                b"garbage",
            )
        ),
        before=1,
    ),
    row("sends one answer more, and closes", *(first("close", stray) for stray in (OK, NOT_UNDERSTOOD)), before=1),
    row("sends one answer more within the same packet", OK + OK, before=2),
    row(
        "sends a body longer than its length, or with a 204",
        ok("Content-Length: 1\r\n", b"taken"),
        before=1,
        excerpt="t",
    ),
    row(
        "closes the idle connection when the next request comes",
        first("close", only_head=True),
        first("close", next_time=b""),
        refuses_seconds,
        before=1,
        requests=2,
    ),
    row(
        "resets the idle connection when the next request comes",
        first("reset", only_head=True),
        first("reset", next_time=b""),
        before=1,
        requests=2,
    ),
    row(
        "resets the idle connection within a large body",
        first("reset", only_head=True),
        before=1,
        requests=2,
        body=LARGE,
    ),
    *(
        row(
            f"answers {code} and closes when the next request comes, with or without saying so, as for one that it did "
            "not understand",
            *(
                first(then, next_time=f"HTTP/1.1 {code} No\r\n{rest}".encode())
                for then, rest in (
                    ("close", "Connection: close\r\nContent-Length: 0\r\n\r\n"),
                    ("close", "Content-Length: 0\r\n\r\n"),
                    ("close", "Content-Length: 3\r\n\r\nb"),
                    ("close", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                    ("close", "\r\nbad"),
                    ("wait", "\r\nbad"),
                )
            ),
            before=1,
            requests=2,
        )
        for code in (400, 408, 414, 431, 501, 505)
    ),
    row(
        "answers 400 and closes, also on a new connection",
        partial(dislikes_seconds, NOT_UNDERSTOOD),
        partial(dislikes_seconds, NOT_UNDERSTOOD.replace(b"Connection: close\r\n", b"")),
        outcome=Outcome.REFUSED,
        status=400,
        error="HTTP 400 Bad request",
        before=1,
        requests=2,
    ),
    row(
        "answers 400 to the next request, and keeps the connection",
        first("wait", next_time=b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"),
        outcome=Outcome.REFUSED,
        status=400,
        error="HTTP 400 No",
        before=1,
        reused=True,
    ),
    row(
        "answers 500 to the next request, and closes",
        first("close", next_time=b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        outcome=Outcome.REFUSED,
        status=500,
        error="HTTP 500 No",
        before=1,
        reused=True,
    ),
    row(
        "answers what is no HTTP to the next request", first("close", next_time=b"0\r\n\r\n" + OK), before=1, requests=2
    ),
    row(
        "answers to the next request before it has read its large body",
        *(
            first("wait", next_time=answer, only_head=True)
            for answer in (OK, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        ),
        before=1,
        requests=2,
        body=LARGE,
    ),
    unreachable(
        "answers the second request with a head of more than 300 KiB",
        first("wait", next_time=sized("X: " + "a" * 310_000 + "\r\n")),
        error=TOO_LARGE,
        before=1,
        reused=True,
    ),
    unreachable(
        "sends 100, 102 or a blank line to the second request, and closes",
        *(
            first("close", next_time=beginning)
            for beginning in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", b"\r\n", b"\n")
        ),
        error="the connection was closed before there was an answer",
        before=1,
        reused=True,
    ),
    unreachable(
        "sends 100 to the second request, and resets",
        first("reset", next_time=b"HTTP/1.1 100 Continue\r\n\r\n"),
        error="the connection was lost before there was an answer",
        before=1,
        reused=True,
    ),
    unreachable(
        "closes within the head of its second answer",
        first("close", next_time=b"H"),
        first("close", next_time=b"HTTP/1.1 200 OK\r\n"),
        error="the connection was closed within the answer's head",
        before=1,
        reused=True,
    ),
    row(
        "does not answer the second request",
        first("wait", next_time=b""),
        outcome=Outcome.TIMED_OUT,
        error=SILENT,
        within=2,
        before=1,
        reused=True,
    ),
    row(
        "answers before it has read a small body, and takes that for the next request",
        skips_bodies,
        before=1,
        requests=2,
    ),
)
