"""Receivers whose answers have odd heads, or are no HTTP."""

from __future__ import annotations

from broker.deliveries import Outcome
from tests.compat.receivers.answers import TOO_LARGE, sized
from tests.compat.receivers.behaviour import OK, row, says, unreachable

HEADS = (
    row("ends lines with LF only", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", excerpt="ok"),
    row("sends no reason", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    row(
        "sends a reason in Latin-1 or UTF-8",
        b"HTTP/1.1 500 f\xfcr\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 für\r\nContent-Length: 0\r\n\r\n".encode(),
        outcome=Outcome.REFUSED,
        status=500,
        error="HTTP 500 für",
    ),
    row(
        "sends a reason with control characters",
        b"HTTP/1.1 500 a\x1b[2J\rb\x00c\r\nContent-Length: 0\r\n\r\n",
        outcome=Outcome.REFUSED,
        status=500,
        error="HTTP 500 a [2J b c",
    ),
    row(
        "sends a very long reason",
        b"HTTP/1.1 500 " + b"a" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
        outcome=Outcome.REFUSED,
        status=500,
        error="HTTP 500 " + "a" * 1015,
    ),
    row("puts several blanks into its status line", b"HTTP/1.1   200   OK  \r\nContent-Length: 0\r\n\r\n"),
    row("begins with blank lines", b"\r\n" + OK, b"\n\r\n" + OK),
    row(
        "folds a header over two lines, or over 4,900",
        sized("X: a\r\n  b\r\n"),
        sized("X:\r\n\ta\r\n"),
        sized("X: a" + "\n b" * 4900 + "\n"),
    ),
    row("sends a line that is no header", sized("no header\r\n"), sized("\x01\r\n")),
    row("puts a blank before a colon, or before a name", sized("X : a\r\n"), sized(" X: a\r\n")),
    row("sends a header without a name, or without a value", sized(": a\r\n"), sized("X:\r\n")),
    row("sends a name with odd characters", sized("X(1)[a]: b\r\n"), sized("\xc4: b\r\n")),
    row(
        "sends NUL, CR or another control character in a header",
        sized(b"X: a\0b\r\n"),
        sized(b"X: a\rb\r\n"),
        sized(b"X: a\x07\x1bb\r\n"),
    ),
    row("sends a header in Latin-1", sized(b"X: f\xfcr\r\n")),
    row(
        "sends a header of 9 kB, or of 290 kB",
        sized("X: " + "a" * 9000 + "\r\n"),
        sized("X: " + "a" * 290_000 + "\r\n"),
    ),
    row(
        "sends 150, or 4,900 headers",
        *(sized("".join(f"X-{number}: a\r\n" for number in range(count))) for count in (150, 4900)),
    ),
    unreachable("sends a head of more than 300 KiB", sized("X: " + "a" * 310_000 + "\r\n"), error=TOO_LARGE),
    unreachable(
        "sends headers without an end",
        says(b"HTTP/1.1 200 OK\r\n", *([b"X: a\r\n" * 1000] * 60), then="wait"),
        error=TOO_LARGE,
    ),
    row("sets cookies, many of them", sized("Set-Cookie: a=b; Path=/\r\n" * 50)),
    row(
        "wants the connection closed",
        says(sized("Connection: close\r\n"), then="close"),
        sized("Connection: Close\r\n"),
        sized("Connection: foo, close\r\n"),
    ),
    row("announces how long it keeps connections", sized("Connection: keep-alive\r\nKeep-Alive: timeout=1, max=1\r\n")),
    row("offers another protocol", sized("Upgrade: h2c\r\nConnection: Upgrade\r\n"), sized('Alt-Svc: h3=":443"\r\n')),
)

PROTOCOLS = (
    row("speaks HTTP/1.0", says(b"HTTP/1.0 200 OK\r\n\r\ntaken", then="close"), excerpt="taken"),
    row(
        "speaks HTTP/1.0 with a length, and keeps the connection",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\ntaken",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\ntaken",
        excerpt="taken",
    ),
    row(
        "names another version of HTTP",
        *(
            f"HTTP/{version} 200 OK\r\nContent-Length: 0\r\n\r\n".encode()
            for version in ("1.2", "2.0", "2", "3.0", "0.9")
        ),
    ),
    *(
        unreachable(f"speaks {name}", says(data, then="close"), error=f"the answer is not HTTP: it begins with {shown}")
        for name, data, shown in (
            ("HTTP/0.9", b"<html>taken</html>", "'<html>taken</html>'"),
            ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", "'SSH-2.0-OpenSSH_9.2'"),
            ("SMTP", b"220 mail.example ESMTP\r\n", "'220 mail.example ESMTP'"),
            ("Redis", b"-ERR unknown command 'POST'\r\n", "'-ERR unknown command 'POST''"),
            ("RTSP", b"RTSP/1.0 200 OK\r\n\r\n", "'RTSP/1.0 200 OK'"),
            ("ICY", b"ICY 200 OK\r\n\r\n", "'ICY 200 OK'"),
            ("MySQL", b"J\0\0\0\x0a8.0.36\0", "'J 8.0.36'"),
            ("PostgreSQL", b"E\0\0\0\x8bSFATAL\0", "the bytes 45 00 00 00 8b 53 46 41 54 41 4c 00"),
            ("something binary", b"\0\x01\x02\x03\x04\x05", "the bytes 00 01 02 03 04 05"),
        )
    ),
    unreachable(
        "speaks HTTP/2",
        says(b"\0\0\x12\x04\0\0\0\0\0" + bytes(18), then="close"),
        says(b"\0\0\x08\x07\0\0\0\0\0" + bytes(8), then="close"),
        error="the answer is not HTTP/1.1 but HTTP/2",
    ),
    unreachable(
        "speaks TLS at an `http://` URL",
        says(b"\x15\x03\x01\x00\x02\x02\x46", then="close"),
        error="the answer is not HTTP but TLS: the URL should probably begin with https://",
    ),
    *(
        unreachable(
            f"answers `{line}`", f"{line}\r\n\r\n".encode(), error=f"the answer is not HTTP: its first line is '{line}'"
        )
        for line in ("HTTP/1.1 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1")
    ),
    unreachable(
        "answers in lower case",
        b"http/1.1 200 OK\r\n\r\n",
        error="the answer is not HTTP: it begins with 'http/1.1 200 OK'",
    ),
    unreachable("sends blank lines without an end", says(*([b"\r\n" * 5000] * 40), then="wait"), error=TOO_LARGE),
)
