"""Receivers that answer with each status."""

from __future__ import annotations

from broker.deliveries import Outcome
from tests.compat.receivers.answers import TOO_LONG, status
from tests.compat.receivers.behaviour import OK, row, says, unreachable


def refused(code: int, *, outcome: Outcome = Outcome.REFUSED, **options: object) -> object:
    """Return the line of one status that is no success."""
    return row(f"answers {code}", *status(code), outcome=outcome, status=code, error=f"HTTP {code} Reason", **options)


STATUSES = (
    *(
        row(f"answers {code}", *status(code), status=code)
        for code in (200, 201, 202, 203, 204, 205, 206, 207, 226, 299)
    ),
    *(refused(code) for code in (101, 300, 301, 302, 303, 304, 305, 307, 308)),
    *(refused(code) for code in (400, 401, 402, 403, 404, 405, 406, 407, 408, 409)),
    refused(410, outcome=Outcome.GONE),
    *(refused(code) for code in (411, 412, 413, 414, 415, 417, 418, 421, 422, 423, 424, 425, 426, 428)),
    refused(429, outcome=Outcome.THROTTLED),
    *(refused(code) for code in (431, 451, 499, 500, 501)),
    *(refused(code, outcome=Outcome.THROTTLED) for code in (502, 503, 504)),
    *(refused(code) for code in (505, 507, 508, 511, 520, 522, 529, 599, 600, 999)),
    row(
        "answers 000",
        b"HTTP/1.1 000 none\r\nContent-Length: 0\r\n\r\n",
        outcome=Outcome.REFUSED,
        status=0,
        error="HTTP 0 none",
    ),
    row(
        "answers 100 first, once or often, in the same packet or before",
        says(*status(100, rest=""), OK, pause=0.01),
        status(100, rest="")[0] + OK,
        says(*status(100, 100, 100, rest=""), OK, pause=0.01),
        b"HTTP/1.1 100 Continue\r\nDate: today\r\n\r\n" + OK,
    ),
    row(
        "answers 102, 103 with headers, or 199 first",
        *(answer + OK for answer in status(102, 103, 199, rest="A: b\r\n")),
    ),
    unreachable(
        "answers 100, and closes",
        says(*status(100, rest=""), then="close"),
        error="the connection was closed before there was an answer",
    ),
    unreachable("answers 100 without an end", says(status(100, rest="")[0] * 20_000, then="wait"), error=TOO_LONG),
    row(
        "answers 503 with `Retry-After: 120`, also with blanks or zeros before it, or on the next line",
        *status(503, rest="Retry-After: 120\r\nContent-Length: 0\r\n"),
        *status(503, rest="retry-after:   120  \r\nContent-Length: 0\r\n"),
        *status(503, rest="Retry-After: 000000000000120\r\nContent-Length: 0\r\n"),
        *status(503, rest="Retry-After:\r\n\t120\r\n \r\nContent-Length: 0\r\n"),
        outcome=Outcome.THROTTLED,
        status=503,
        error="HTTP 503 Reason",
        retry_after=120,
    ),
    row(
        "asks for several pauses, the longest of 120 s",
        *status(503, rest="Retry-After: 120\r\nRetry-After: 2\r\nContent-Length: 0\r\n"),
        *status(503, rest="Retry-After: soon\r\nContent-Length: 0\r\nRetry-After: 7\r\nretry-after: 120\r\n"),
        outcome=Outcome.THROTTLED,
        status=503,
        error="HTTP 503 Reason",
        retry_after=120,
    ),
    row(
        "answers 404 with `Retry-After: 7`",
        *status(404, rest="Retry-After: 7\r\nContent-Length: 0\r\n"),
        outcome=Outcome.REFUSED,
        status=404,
        error="HTTP 404 Reason",
        retry_after=7,
    ),
    row(
        "asks for a pause of over a day",
        *status(503, rest="Retry-After: 999999999999\r\nContent-Length: 0\r\n"),
        outcome=Outcome.THROTTLED,
        status=503,
        error="HTTP 503 Reason",
        retry_after=86400,
    ),
    row(
        "asks for a pause that has passed",
        *status(503, rest="Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n"),
        outcome=Outcome.THROTTLED,
        status=503,
        error="HTTP 503 Reason",
        retry_after=0,
    ),
    row(
        "asks for a pause in no known form",
        *status(503, rest="Retry-After: soon\r\nContent-Length: 0\r\n"),
        *status(503, rest="Retry-After: -5\r\nContent-Length: 0\r\n"),
        *status(503, rest="Retry-After:\r\nContent-Length: 0\r\n"),
        outcome=Outcome.THROTTLED,
        status=503,
        error="HTTP 503 Reason",
    ),
    row(
        "redirects to another path, host or scheme",
        *(
            status(307, rest=f"Location: {to}\r\nContent-Length: 0\r\n")[0]
            for to in ("/x", "http://10.0.0.1/", "file:///etc/passwd")
        ),
        outcome=Outcome.REFUSED,
        status=307,
        error="HTTP 307 Reason",
    ),
)
