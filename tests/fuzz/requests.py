"""Raw requests for every route: its path, query, headers and body, each changed as no client would write it."""

from __future__ import annotations

import json
import random
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.fuzz.callers import LONGEST, Caller
from tests.fuzz.mutations import inputs

_TRIES = 4
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "M-SEARCH", "get", "\u00e9")
_IDS = (
    "1",
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "1-1",
    "default",
    "%00",
    "..",
    "a%2Fb",
    "\u00fc",
    "",
)
_VALUES = (
    *_IDS,
    "true",
    "null",
    "2026-11-22T10:00:00Z",
    "9999-12-31T23:59:60-23:59",
    "%ff",
    "a" * 3000,
    "#",
    "*.#",
    "{}",
)
_HEADERS: Sequence[tuple[bytes, Sequence[bytes]]] = (
    (
        b"Content-Type",
        (b"application/json", b"text/plain", b"application/json; charset=utf-16", b"a/b; charset=", b"\xff", b""),
    ),
    (b"Content-Encoding", (b"gzip", b"deflate", b"br", b"gzip, gzip", b"identity", b",")),
    (b"Accept", (b"*/*", b"text/html", b"application/json;q=0", b"*", b"\xff", b";;")),
    (b"Authorization", (b"", b"Basic Og==", b"Basic \xff", b"Bearer", b"bearer x", b"Digest a")),
    (b"Idempotency-Key", (b"k", b"", b"x" * 300, b"\xe9")),
    (b"traceparent", (b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"\xff")),
    (b"tracestate", (b"a=1,tenant@b=2", b"a=1,a=2", b"\xff")),
    (b"Expect", (b"100-continue", b"200-ok")),
    (b"Accept-Language", (b"de",)),
    (b"Origin", (b"null", b"http://[")),
    (b"X-Forwarded-Proto", (b"https", b"\xff")),
    (b"Transfer-Encoding", (b"identity", b"gzip, chunked")),
    (b"Cookie", (b"a=b", b"=" * 100)),
)
_HOSTS = (b"", b"a:99999", b"[::1]:1@", b"[::", b"a b", b"\xff", b"x@y", b"a:b", b"1.2.3.4.5:0", b'"><script>')
_BODIES = (
    b'{"name":"a.b","payload":{"v":1},"variables":{"a":{"value":"1","type":"Integer"}},"tenantId":null}',
    b'{"name":"a.#","target":{"kind":"queue","queue":"q"},"filter":{"v":{"operator":"IN","values":["x"]}},"retry":{}}',
    b'{"signals":[{"name":"a"},{"name":""},7],"perSecond":0.5,"dryRun":true,"after":"1-1@2026-11-22T10:00:00.000Z"}',
    b'{"name":"t","permissions":["signals:read"],"password":"12345678","names":["a"],"graceSeconds":1}',
    b'{"signalName":"a","enabled":false,"description":"d","executionId":"e","deliverAt":"2026-11-22T10:00:00Z"}',
    b"a=1&b[]=2&c[d]=3",
)


class Route:
    """One operation of the description.

    Args:
        method: Its method.
        path: With ``{parameters}``.
        queries: The names of its query parameters.
    """

    def __init__(self, method: str, path: str, operation: Mapping[str, Any]) -> None:
        self.method = method
        self.path = path
        self.queries = [one["name"] for one in operation["parameters"] if one["in"] == "query"]


def routes(caller: Caller) -> list[Route]:
    """Return every operation that the gateway describes."""
    api = caller.send("GET", "/openapi.json").document
    return [
        Route(method.upper(), path, one) for path, methods in api["paths"].items() for method, one in methods.items()
    ]


def requests(every: Sequence[Route], token: str, rng: random.Random) -> Iterator[bytes]:
    """Yield requests without end: in turn for each of *every* route."""
    bodies = inputs(_BODIES, rng)
    while True:
        for route in every:
            yield _request(route, token, next(bodies), rng)


def _request(route: Route, token: str, body: bytes, rng: random.Random) -> bytes:
    method = route.method if rng.random() < 0.85 else rng.choice(_METHODS)
    path = re.sub(r"\{\w+\}", lambda _: rng.choice(_IDS), route.path)
    names = [*route.queries, "unknown"]
    query = "&".join(f"{rng.choice(names)}={rng.choice(_VALUES)}" for _ in range(rng.choice([0, 0, 1, 2, 5])))
    if rng.random() < 0.1:
        path = rng.choice([path + "/", path.upper(), "/" + path, path + ";a=b", path + "%2e", path[: len(path) // 2]])
    target = f"{path}?{query}" if query else path
    headers = [(b"Host", b"localhost" if rng.random() < 0.9 else rng.choice(_HOSTS)), (b"Connection", b"close")]
    headers += [(name, rng.choice(values)) for name, values in rng.sample(_HEADERS, rng.choice([0, 1, 1, 2, 4]))]
    names_given = {name for name, _ in headers}
    if b"Content-Type" not in names_given:
        headers.append((b"Content-Type", b"application/json"))
    if b"Authorization" not in names_given:
        headers.append((b"Authorization", f"Bearer {token}".encode()))
    if method in {"GET", "HEAD"} and rng.random() < 0.8:
        body = b""
    headers.append((b"Content-Length", str(len(body)).encode()))
    rng.shuffle(headers)
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return f"{method} {target} HTTP/1.1\r\n".encode() + lines + b"\r\n" + body


def ask(address: tuple[str, int], request: bytes) -> tuple[int, bytes]:
    """Send *request* and return the status and the body, which came within a second at least once in four times.

    A status of 0 is a connection that was closed without an answer.
    """
    for _ in range(_TRIES):
        started = time.monotonic()
        answer = _exchange(address, request)
        took = time.monotonic() - started
        if took < LONGEST or request.startswith(b"DELETE /v1/signals/"):  # that waits for a record
            break
    else:
        raise AssertionError(f"{took:.1f} s for {request!r}")
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return (int(found[1]) if found else 0), body


def _exchange(address: tuple[str, int], request: bytes) -> bytes:
    answer = bytearray()
    with socket.create_connection(address, timeout=30) as connection:
        try:
            connection.sendall(request)
            while b"\r\nContent-Type: text/event-stream" not in answer and (piece := connection.recv(1 << 16)):
                answer += piece  # events have no end
        except ConnectionError:
            pass
    return bytes(answer)


def is_failure(request: bytes, status: int, body: bytes) -> bool:
    """Return whether an answer is a failure: any 5xx but what Camunda documents, and what HTTP has for the unknown."""
    if status == 500 and b"/signal" in request.split(b"\r\n", 1)[0]:
        return json.loads(body or b"{}").get("type") != "NullValueException"
    if status == 501:
        return b"Transfer-Encoding" not in request and not request.startswith((b"M-", b"\xc3"))
    return status >= 500
