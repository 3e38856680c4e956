"""Receivers whose answers have bodies, framed well or badly."""

from __future__ import annotations

import gzip

from broker.deliveries import Outcome
from tests.compat.receivers.answers import CUT_OFF, NOT_ENDED, chunked, ok, sized
from tests.compat.receivers.behaviour import OK, row, says

GZIP = gzip.compress(b"squeezed")
NOT_READABLE = "answered 200, but its body has a length that cannot be read"
NO_CHUNKS = "answered 200, but its body is not framed as chunks"

BODIES = (
    row("sends a body with its length", sized("Content-Type: text/plain\r\n", b"taken"), excerpt="taken"),
    row(
        "refuses with a body",
        b"HTTP/1.1 422 No\r\nContent-Length: 13\r\n\r\nno such flag\n",
        outcome=Outcome.REFUSED,
        status=422,
        error="HTTP 422 No",
        excerpt="no such flag",
    ),
    row("sends chunks", chunked(b"3\r\ntak\r\n2\r\nen\r\n0\r\n\r\n"), excerpt="taken"),
    row(
        "sends chunks with extensions and trailers",
        ok("Transfer-Encoding: chunked\r\nTrailer: X\r\n", b'5;a="b";c\r\ntaken\r\n0;d\r\nX: y\r\nZ: 1\r\n\r\n'),
        excerpt="taken",
    ),
    row(
        "sends chunks with zeros, blanks, capitals or LF only",
        ok("transfer-encoding: Chunked\r\n", b"0005 \r\ntaken\r\n000\r\n\r\n"),
        chunked(b"5\ntaken\n0\n\n"),
        excerpt="taken",
    ),
    row(
        "sends chunks of one byte each, one by one",
        says(chunked(b""), *(b"1\r\n%c\r\n" % byte for byte in b"taken"), b"0\r\n\r\n", pause=0.01),
        excerpt="taken",
    ),
    row(
        "sends chunks and a length",
        ok("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"5\r\ntaken\r\n0\r\n\r\n"),
        excerpt="taken",
    ),
    row(
        "sends compressed chunks",
        ok("Transfer-Encoding: gzip, chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(GZIP), GZIP)),
    ),
    row(
        "compresses the body, or says so",
        sized("Content-Encoding: gzip\r\n", GZIP),
        sized("Content-Encoding: gzip\r\n", b"no gzip"),
        sized("Content-Encoding: br, gzip\r\n", b"x"),
    ),
    row(
        "sends a compressed body of 30 kB that unpacks to 30 MB",
        sized("Content-Encoding: gzip\r\n", gzip.compress(bytes(30_000_000))),
    ),
    row("says that the body is not compressed", sized("Content-Encoding: identity\r\n", b"taken"), excerpt="taken"),
    row(
        "sends text in Latin-1 or UTF-16",
        sized("Content-Type: text/plain; charset=iso-8859-1\r\n", b"f\xfcr"),
        sized("Content-Type: text/plain; charset=utf-16\r\n", "für".encode("utf-16")),
        excerpt="für",
    ),
    row(
        "sends text that is not in its charset",
        sized("Content-Type: text/plain; charset=utf-8\r\n", b"a\xff\x00b"),
        excerpt="a\ufffd b",
    ),
    row("sends escape sequences", sized(body=b"a\x1b[2Jb\r\n\xe2\x80\xaec"), excerpt="a [2Jb c"),
    row(
        "sends no length, and closes",
        says(ok("", b"taken"), then="close"),
        says(ok("Connection: close\r\n", b"taken"), then="close"),
        excerpt="taken",
    ),
    row(
        "sends no length, and keeps the connection open",
        says(ok("Connection: keep-alive\r\n", b"taken"), then="wait"),
        within=2,
        error=NOT_ENDED,
        excerpt="taken",
    ),
    row("sends no length, and resets the connection", says(ok("", b"tak"), then="reset"), error=CUT_OFF, excerpt="tak"),
    row(
        "sends the same length twice",
        ok("Content-Length: 5\r\nContent-Length: 5\r\n", b"taken"),
        ok("Content-Length: 5, 5\r\n", b"taken"),
        excerpt="taken",
    ),
    row(
        "sends two lengths, or one that is no number",
        *(
            ok(f"Content-Length: {size}\r\n", b"taken")
            for size in ("5\r\nContent-Length: 6", "-5", "5x", "0x5", "", "9" * 30)
        ),
        error=NOT_READABLE,
    ),
    row(
        "sends a 204, 205 or 304 with a body",
        says(b"HTTP/1.1 204 None\r\nContent-Length: 2\r\n\r\n{}"),
        b"HTTP/1.1 204 None\r\n\r\n{}",
        b"HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        status=204,
    ),
    row(
        "sends more than its length",
        ok("Content-Length: 5\r\n", b"taken and more"),
        ok("Content-Length: 5\r\n", b"taken" + OK),
        excerpt="taken",
    ),
    row(
        "sends less than its length, and closes",
        says(ok("Content-Length: 9\r\n", b"tak"), then="close"),
        error=CUT_OFF,
        excerpt="tak",
    ),
    row(
        "sends less than its length, and resets",
        says(ok("Content-Length: 9\r\n", b"tak"), then="reset"),
        error=CUT_OFF,
        excerpt="tak",
    ),
    row(
        "sends less than its length, and waits",
        says(ok("Content-Length: 9\r\n", b"tak"), then="wait"),
        within=2,
        error=NOT_ENDED,
        excerpt="tak",
    ),
    row(
        "sends chunks, and closes before the last one",
        says(chunked(b"3\r\ntak\r\n"), then="close"),
        says(chunked(b"5\r\ntak"), then="close"),
        error=CUT_OFF,
        excerpt="tak",
    ),
    row(
        "sends chunks, and no end of them",
        says(chunked(b"3\r\ntak\r\n"), then="wait"),
        says(chunked(b"3\r\ntak\r\n0\r\n"), then="wait"),
        within=2,
        error=NOT_ENDED,
        excerpt="tak",
    ),
    row(
        "sends what are no chunks",
        chunked(b"taken\r\n"),
        chunked(b"-1\r\n"),
        chunked(b"1;" + b"x" * 20_000),
        error=NO_CHUNKS,
    ),
    row("sends a chunk that is longer than its size", chunked(b"3\r\ntaken\r\n"), error=NO_CHUNKS, excerpt="tak"),
    row(
        "refuses, and does not end the body",
        says(b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nwhy", then="close"),
        outcome=Outcome.REFUSED,
        status=500,
        error="HTTP 500 Oops; its body was cut off",
        excerpt="why",
    ),
    row(
        "throttles, and does not end the body",
        says(b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nwhy", then="wait"),
        within=2,
        outcome=Outcome.THROTTLED,
        status=503,
        error="HTTP 503 Busy; its body did not end within 2 s",
        excerpt="why",
    ),
    row(
        "sends a body of 100 MB",
        says(ok("Content-Length: 100000000\r\n"), *([b"x" * 1_000_000] * 100)),
        excerpt="x" * 1024,
    ),
    row(
        "sends chunks without an end",
        says(chunked(b""), *([b"3e8\r\n" + b"x" * 1000 + b"\r\n"] * 1000)),
        excerpt="x" * 1024,
    ),
    row(
        "sends trailers without an end",
        says(chunked(b"0\r\n"), *([b"X: y\r\n" * 1000] * 100)),
        error="answered 200, but its body has trailers without an end",
    ),
)
