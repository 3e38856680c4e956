"""The webhook client against a real receiver."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network

import pytest

from broker.deliveries import Outcome
from broker.egress import Guard
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.raw_receiver import raw_receiver
from tests.support.receiver import Answer, receiver
from workers.webhooks.client import WebhookClient

SECOND = timedelta(seconds=1)


@pytest.fixture
async def target():
    async with receiver() as running:
        yield running


@pytest.fixture
async def client():
    """A client that may reach loopback."""
    async with WebhookClient(Guard([ip_network("127.0.0.0/8")]), concurrency=10) as client:
        yield client


async def post(client, url, *, body=b"{}", headers=None, within=10 * SECOND):
    return await client.send(url, body=body, headers=headers or {"content-type": "application/json"}, timeout=within)


@asynccontextmanager
async def listener(handle):
    """A TCP server on a free loopback port that treats each connection with *handle*, then ends it; yields its port."""

    async def handle_and_close(reader, writer):
        with suppress(ConnectionError):
            await handle(reader, writer)
        writer.close()

    async with await asyncio.start_server(handle_and_close, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_the_receiver_gets_body_and_headers_as_given(client, target):
    result = await post(client, target.url("/hook?a=%2B"), body=b'{"x":1}', headers={"Webhook-Id": "7-3"})
    assert (result.outcome, result.status, result.error) == (Outcome.SUCCEEDED, 200, None)
    [request] = target.requests
    assert (request.path, request.body) == ("/hook", b'{"x":1}')
    assert request.headers["webhook-id"] == "7-3"
    assert request.headers["user-agent"] == "signal-broker"
    assert request.headers["content-length"] == "7"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SUCCEEDED),
        (202, Outcome.SUCCEEDED),
        (204, Outcome.SUCCEEDED),
        (299, Outcome.SUCCEEDED),
        (301, Outcome.REFUSED),
        (304, Outcome.REFUSED),
        (400, Outcome.REFUSED),
        (401, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (410, Outcome.GONE),
        (429, Outcome.THROTTLED),
        (500, Outcome.REFUSED),
        (502, Outcome.THROTTLED),
        (503, Outcome.THROTTLED),
        (504, Outcome.THROTTLED),
        (599, Outcome.REFUSED),
    ],
)
async def test_the_status_decides_the_outcome(client, target, status, outcome):
    result = await post(client, target.answer("/", Answer(status=status)))
    assert (result.outcome, result.status) == (outcome, status)
    assert (result.error is None) == (outcome is Outcome.SUCCEEDED)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(client, target, status):
    url = target.answer("/", Answer(status=status, headers={"Location": target.url("/elsewhere")}))
    assert (await post(client, url)).outcome is Outcome.REFUSED
    assert [request.path for request in target.requests] == ["/"]


async def test_retry_after_in_seconds_is_reported(client, target):
    result = await post(client, target.answer("/", Answer(status=429, headers={"Retry-After": "120"})))
    assert (result.outcome, result.retry_after) == (Outcome.THROTTLED, timedelta(seconds=120))


async def test_retry_after_as_a_date_is_reported(client, target):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    result = await post(client, target.answer("/", Answer(status=503, headers={"Retry-After": date})))
    assert timedelta(seconds=20) <= result.retry_after <= timedelta(seconds=30)


async def test_a_garbled_retry_after_is_ignored(client, target):
    result = await post(client, target.answer("/", Answer(status=503, headers={"Retry-After": "soon"})))
    assert (result.outcome, result.retry_after) == (Outcome.THROTTLED, None)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(fate="hang"), id="hang"),
        pytest.param(Answer(after=60), id="delay"),
    ],
)
async def test_an_answer_that_does_not_end_in_time_is_a_time_out(client, target, answer):
    result = await post(client, target.answer("/", answer), within=0.3 * SECOND)
    assert (result.outcome, result.error) == (Outcome.TIMED_OUT, "no answer within 0.3 s")
    assert len(target.requests) <= 1, "it is not sent again"


async def test_a_slow_answer_within_the_deadline_succeeds(client, target):
    result = await post(client, target.answer("/", Answer(after=0.2, body=b"slow", pace=0.02)))
    assert (result.outcome, result.excerpt) == (Outcome.SUCCEEDED, "slow")


async def test_a_link_lost_before_there_was_an_answer_is_unreachable(client, target):
    result = await post(client, target.answer("/", Answer(fate="close")))
    assert (result.outcome, result.error) == (
        Outcome.UNREACHABLE,
        "the connection was closed before there was an answer",
    )


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(body=b"x" * 1000, pace=0.01), "did not end within 0.3 s"),
        (Answer(fate="cut", body=b"half"), "was cut off"),
    ],
    ids=["drip", "cut"],
)
async def test_an_answer_counts_whatever_becomes_of_its_body(client, target, answer, fault):
    url = target.answer("/", answer, replace(answer, status=503))
    taken, refused = await post(client, url, within=0.3 * SECOND), await post(client, url, within=0.3 * SECOND)
    assert (taken.outcome, taken.status, taken.error) == (
        Outcome.SUCCEEDED,
        200,
        f"answered 200, but its body {fault}",
    )
    assert (refused.outcome, refused.status, refused.error) == (
        Outcome.THROTTLED,
        503,
        f"HTTP 503 Service Unavailable; its body {fault}",
    )


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Security-Policy: " + b"a" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"".join(b"X-%d: a\r\n" % number for number in range(2000)) + b"Content-Length: 0\r\n\r\n",
        b"X: " + b"a" * 290_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length: 2\r\n\r\nok and more",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    ],
    ids=["9 kB in a header", "2000 headers", "290 kB", "more than its length", "two lengths", "or three", "no chunk"],
)
async def test_a_2xx_is_success_whatever_comes_with_it(client, rest):
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + rest)
        await peer.wait_lost()

    async with raw_receiver(script) as target:
        result = await post(client, target.base)
    assert (result.outcome, result.status) == (Outcome.SUCCEEDED, 200)


async def test_a_204_with_a_body_is_success(client):
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}")
        await peer.wait_lost()

    async with raw_receiver(script) as target:
        result = await post(client, target.base)
    assert (result.outcome, result.status, result.error) == (Outcome.SUCCEEDED, 204, None)


async def test_a_port_where_nobody_listens_is_unreachable(client):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = await post(client, f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert result.outcome is Outcome.UNREACHABLE


@pytest.mark.slow
async def test_a_connection_that_does_not_come_about_is_unreachable(client):
    """The listener accepts nothing and its backlog is full, so that the kernel leaves further attempts unanswered."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        result = await post(client, f"http://127.0.0.1:{full.getsockname()[1]}/", within=20 * SECOND)
    assert (result.outcome, result.error) == (Outcome.UNREACHABLE, "no connection within 5 s")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP: it begins with 'SSH-2.0-OpenSSH_9.2'"),
        (b"HTTP/1.1 banana\r\n\r\n", "the answer is not HTTP: its first line is 'HTTP/1.1 banana'"),
        (
            b"\x15\x03\x03\x00\x02\x02",
            "the answer is not HTTP but TLS: the URL should probably begin with https://",
        ),
    ],
)
async def test_an_answer_that_is_not_http_is_unreachable(client, answer, error):
    """Which says neither that the receiver answered 400 nor what the URL's query is."""

    async def handle(reader, writer):
        await reader.readuntil(b"{}")
        writer.write(answer)

    async with listener(handle) as port:
        result = await post(client, f"http://127.0.0.1:{port}/?sig=secret")
    assert (result.outcome, result.status, result.error) == (Outcome.UNREACHABLE, None, error)


async def test_endless_headers_end_at_once(client):
    async def handle(reader, writer):
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-more: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async with listener(handle) as port:
        result = await post(client, f"http://127.0.0.1:{port}/")
    assert (result.outcome, result.error) == (Outcome.UNREACHABLE, "the answer's head has more than 300 KiB")


async def test_a_huge_body_is_not_read_to_its_end_and_its_connection_is_closed(client):
    sent, hung_up = 0, asyncio.Event()

    async def handle(reader, writer):
        nonlocal sent
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        finally:
            hung_up.set()

    async with listener(handle) as port:
        result = await post(client, f"http://127.0.0.1:{port}/")
        async with asyncio.timeout(30):
            await hung_up.wait()
    assert (result.outcome, result.excerpt) == (Outcome.SUCCEEDED, "x" * 1024)
    assert sent < 64 << 20  # what fits into the kernel's buffers


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"", None),
        (b"ok", "ok"),
        (b"a\x1b[2Jb\x00\r\nc\x7f", "a [2Jb c"),
        ("rtl\u202eevil".encode(), "rtl evil"),
        (b"\xff\xfeno text", "\ufffd\ufffdno text"),
        (b"x" * 1023 + "ü".encode(), "x" * 1023),
        (b"x" * 70000, "x" * 1024),
    ],
)
async def test_the_excerpt_is_a_safe_line_of_at_most_1_kib(client, target, body, excerpt):
    assert (await post(client, target.answer("/", Answer(status=500, body=body)))).excerpt == excerpt


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "identity"}, b"f\xc3\xbcr"),
        ({"Content-Type": "text/plain; charset=ISO-8859-1"}, b"f\xfcr"),
        ({"Content-Type": 'text/plain; charset="utf-16"'}, "für".encode("utf-16")),
        ({"Content-Type": "text/plain; charset=windows-1252; q"}, b"f\xfcr"),
        ({"Content-Type": "text/plain; charset=undefined"}, "für".encode()),
        ({"Content-Type": "text/plain; charset=unicode_escape"}, "für".encode()),
    ],
)
async def test_the_excerpt_is_read_in_the_charset_that_the_answer_names(client, target, headers, body):
    assert (await post(client, target.answer("/", Answer(headers=headers, body=body)))).excerpt == "für"


async def test_a_compressed_body_is_neither_asked_for_nor_unpacked(client, target):
    url = target.answer("/", Answer(headers={"Content-Encoding": "gzip"}, body=b"\x1f\x8b not even gzip"))
    result = await post(client, url)
    assert (result.outcome, result.excerpt) == (Outcome.SUCCEEDED, None)
    assert target.requests[0].headers["accept-encoding"] == "identity"


async def test_the_reason_of_a_refusal_cannot_forge_a_line(client):
    async def handle(reader, writer):
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 500 no\x1b[2J\rway\r\ncontent-length: 0\r\n\r\n")

    async with listener(handle) as port:
        result = await post(client, f"http://127.0.0.1:{port}/")
    assert result.error.isprintable()


async def test_the_largest_body_is_sent(client, target):
    await post(client, target.url(), body=b"x" * (15 << 20))
    assert len(target.requests[0].body) == 15 << 20


async def test_connections_are_kept_but_cookies_are_not(client, target):
    url = target.answer("/", Answer(headers={"Set-Cookie": "a=b"}))
    await post(client, url)
    await post(client, url)
    first, second = target.requests
    assert first.peer == second.peer
    assert "cookie" not in second.headers


async def test_proxies_and_passwords_of_the_environment_are_not_used(client, target, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await post(client, target.url())).outcome is Outcome.SUCCEEDED
    assert "authorization" not in target.requests[0].headers


async def test_a_certificate_of_nobody_is_unreachable(client, tmp_path):
    async with receiver(ssl=Authority(tmp_path).serving("127.0.0.1")) as target:
        result = await post(client, target.url())
    assert result.outcome is Outcome.UNREACHABLE
    assert "CERTIFICATE_VERIFY_FAILED" in result.error
    assert target.requests == []


async def test_a_header_that_cannot_be_sent_is_our_own_failure(client, target):
    result = await post(client, target.url(), headers={"X-Mine": "a\r\nHost: elsewhere"})
    assert result.outcome is Outcome.FAILED
    assert target.requests == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "/hook", "http://[::1/", "http://127.0.0.1:99999/"])
async def test_what_is_no_http_url_is_forbidden(client, url):
    assert (await post(client, url)).outcome is Outcome.FORBIDDEN


async def test_being_cancelled_ends_an_attempt(client, target):
    attempt = asyncio.create_task(post(client, target.answer("/", Answer(fate="hang"))))
    await eventually(lambda: target.requests)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
