"""Receivers that end, or stop: lost connections, early answers, and slowness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from broker.deliveries import Outcome
from tests.compat.receivers.answers import CUT_OFF, NOT_ENDED, NOT_IN_TIME, NOT_TAKEN, SILENT, ok, sized
from tests.compat.receivers.behaviour import LARGE, OK, Then, end, row, says, unreachable
from tests.support.raw_receiver import Peer, Script

TAKEN = sized(body=b"taken")
ENDS: tuple[Then, ...] = ("wait", "hold", "close")
HEAD = len(TAKEN) - len(b"taken")
NO_ANSWER = "the connection was closed or reset before there was an answer"
NOT_UNDERSTOOD = b"HTTP/1.1 400 Bad request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def at_once(then: Then, *pieces: bytes) -> Script:
    """Return the script of a receiver that reads nothing, and sends *pieces* before it waits for anything."""

    def script(peer: Peer) -> Awaitable[None]:
        peer.greet(*pieces)
        return end(peer, then)

    return script


def early(answer: bytes, then: Then, *, takes: int = 0, rest: bool = False) -> Script:
    """Return the script of a receiver that answers when it has read the head, and *takes* bytes of the body."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.read(takes)
        await peer.send(answer)
        if rest:
            await peer.read(len(LARGE) - takes)
        await end(peer, then)

    return script


async def takes_slowly(peer: Peer) -> None:
    await peer.head()
    for _ in range(20):
        await peer.read(len(LARGE) // 20)
        await asyncio.sleep(0.02)
    await peer.send(OK)


LOST = (
    unreachable("closes as soon as it is connected to", at_once("close"), error=NO_ANSWER, requests=0),
    unreachable("resets as soon as it is connected to", at_once("reset"), error=NO_ANSWER, requests=0),
    unreachable("closes when it has read the head", early(b"", "close"), error=NO_ANSWER),
    unreachable("closes within a large body", early(b"", "close", takes=1_000_000), error=NO_ANSWER, body=LARGE),
    unreachable("resets within a large body", early(b"", "reset", takes=1_000_000), error=NO_ANSWER, body=LARGE),
    unreachable(
        "closes instead of answering",
        says(b"", then="close"),
        error="the connection was closed before there was an answer",
    ),
    unreachable(
        "resets instead of answering",
        says(b"", then="reset"),
        error="the connection was reset before there was an answer",
    ),
    unreachable(
        "closes after each byte of its answer's head",
        *(says(TAKEN[:size], then="close") for size in range(1, HEAD)),
        error="the connection was closed within the answer's head",
    ),
    unreachable(
        "resets after each byte of its answer's head",
        *(says(TAKEN[:size], then="reset") for size in range(1, HEAD)),
        error="the connection was lost within the answer's head",
    ),
    *(
        row(
            f"{verb} after {size or 'no'} byte{'s' * (size != 1)} of its answer's body",
            says(TAKEN[: HEAD + size], then=then),
            error=CUT_OFF,
            excerpt=("taken"[:size] or None),
        )
        for verb, then in (("closes", "close"), ("resets", "reset"))
        for size in range(5)
    ),
    row("closes after its answer", says(TAKEN, then="close"), excerpt="taken"),
    row("resets after its answer", says(TAKEN, then="reset"), excerpt="taken"),
    row("answers in packets of one byte each", says(*(b"%c" % byte for byte in TAKEN), pause=0.002), excerpt="taken"),
)

EARLY = (
    *(
        unreachable(
            f"answers {code} as soon as it is connected to",
            *(at_once(then, f"HTTP/1.1 {code} No\r\nContent-Length: 0\r\n\r\n".encode()) for then in ENDS),
            error=f"the receiver answered {code} before it received any of the request",
            requests=0,
        )
        for code in (200, 302, 410, 503)
    ),
    unreachable(
        "answers 200 as soon as it is connected to, and would read a large body",
        at_once("wait", OK),
        error="the receiver answered 200 before it received any of the request",
        requests=0,
        body=LARGE,
    ),
    unreachable(
        "sends a part of an answer's head, or a 100, as soon as it is connected to",
        *(at_once("wait", piece) for piece in (b"H", OK[:9], OK[:-2], b"HTTP/1.1 100 Continue\r\n\r\n")),
        error="the receiver answered before it received any of the request",
        requests=0,
    ),
    unreachable(
        "greets as SMTP does",
        at_once("wait", b"220 mail.example ESMTP\r\n"),
        error="the answer is not HTTP: it begins with '220 mail.example ESMTP'",
        requests=0,
    ),
    *(
        row(
            f"answers {code} before it has read a large body, and {what}",
            early(f"HTTP/1.1 {code} No\r\nContent-Length: 3\r\n\r\nwhy".encode(), then),
            outcome=Outcome.THROTTLED if code == 503 else Outcome.REFUSED,
            status=code,
            error=f"HTTP {code} No",
            excerpt="why",
            body=LARGE,
        )
        for code in (401, 413, 500, 503)
        for what, then in (("waits", "hold"), ("reads the rest", "wait"), ("resets", "reset"))
    ),
    row(
        "answers 400 within a large body, and waits",
        early(NOT_UNDERSTOOD, "hold", takes=1_000_000),
        outcome=Outcome.REFUSED,
        status=400,
        error="HTTP 400 Bad request",
        body=LARGE,
    ),
    row(
        "answers 413 with `Connection: close` before it has read a small body",
        early(b"HTTP/1.1 413 No\r\nConnection: close\r\n\r\n", "reset"),
        outcome=Outcome.REFUSED,
        status=413,
        error="HTTP 413 No; its body was cut off",
    ),
    row(
        "answers 200 before it has read a large body, and then reads it",
        early(OK, "wait", rest=True),
        early(OK, "close", takes=1_000_000, rest=True),
        body=LARGE,
    ),
    row("answers 100, and then reads a large body", says(b"HTTP/1.1 100 Continue\r\n\r\n" + OK), body=LARGE),
    unreachable(
        "answers 200 before it has read a large body, and reads no more",
        early(OK, "hold"),
        early(OK, "hold", takes=1_000_000),
        error="the receiver answered 200, but did not take the whole request within 2 s",
        within=2,
        body=LARGE,
    ),
    unreachable(
        "answers 200 before it has read a large body, and closes or resets",
        early(OK, "close"),
        early(OK, "reset"),
        error="the receiver answered 200, and closed the connection before it had the whole request",
        body=LARGE,
    ),
    unreachable(
        "redirects before it has read a large body, and closes",
        early(b"HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n", "reset"),
        error="the receiver answered 302, and closed the connection before it had the whole request",
        body=LARGE,
    ),
    row("answers 200 before it has read a small body", early(OK, "wait")),
    row("reads a body of 8 MB", OK, body=LARGE),
)

SLOW = (
    row("reads nothing", at_once("hold"), outcome=Outcome.TIMED_OUT, error=NOT_TAKEN, within=2, requests=0, body=LARGE),
    row(
        "does not read a large body",
        early(b"", "hold"),
        early(b"", "hold", takes=1_000_000),
        outcome=Outcome.TIMED_OUT,
        error=NOT_TAKEN,
        within=2,
        body=LARGE,
    ),
    row("does not answer", says(b"", then="wait"), outcome=Outcome.TIMED_OUT, error=SILENT, within=2),
    row(
        "stops in its status line, in its head, or before the blank line",
        *(says(TAKEN[:size], then="wait") for size in (1, 5, 12, 20, HEAD - 2, HEAD - 1)),
        outcome=Outcome.TIMED_OUT,
        error=NOT_IN_TIME,
        within=2,
    ),
    row(
        "answers 100, and then nothing",
        says(b"HTTP/1.1 100 Continue\r\n\r\n", then="wait"),
        outcome=Outcome.TIMED_OUT,
        error=NOT_IN_TIME,
        within=2,
    ),
    row(
        "sends a head that has no end, slowly",
        says(b"HTTP/1.1 200 OK\r\n", *([b"X: a\r\n"] * 1000), pause=0.01),
        outcome=Outcome.TIMED_OUT,
        error=NOT_IN_TIME,
        within=2,
    ),
    row(
        "sends a body that has no end, slowly",
        says(ok("Content-Length: 9\r\n", b"x"), b"x", pause=10),
        within=2,
        error=NOT_ENDED,
        excerpt="x",
    ),
    row("answers after a second", says(b"", OK, pause=1)),
    row("reads a large body slowly", takes_slowly, body=LARGE),
    row("sends its body slowly", says(ok("Content-Length: 5\r\n"), b"ta", b"k", b"en", pause=0.2), excerpt="taken"),
)
