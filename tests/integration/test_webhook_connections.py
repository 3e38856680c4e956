"""Connections that webhooks share: none gives a delivery another one's answer, or costs it an attempt."""

from __future__ import annotations

import asyncio
import gc
import socket
from datetime import timedelta
from ipaddress import ip_network

import pytest

from broker import metrics
from broker.deliveries import Outcome
from broker.egress import Guard
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.raw_receiver import OK, raw_receiver
from tests.support.receiver import Answer, receiver
from workers.webhooks import pool
from workers.webhooks.client import WebhookClient
from workers.webhooks.dialing import trust

LOOPBACK = Guard([ip_network("127.0.0.0/8")])
ERROR = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
LARGE = b"x" * 8_000_000
"""More than the kernel's buffers of a connection hold, so that a receiver has to read for it to be written."""


@pytest.fixture
async def client():
    async with WebhookClient(LOOPBACK, concurrency=10) as client:
        yield client


async def post(client, url, *, body=b"{}", within=10.0):
    headers = {"content-type": "application/json"}
    return await client.send(url, body=body, headers=headers, timeout=timedelta(seconds=within))


def repeats():
    return metrics.REGISTRY.get_sample_value("signal_broker_repeats_total", {"cause": "reconnected"})


async def answer_all(peer):
    while True:
        await peer.request()
        await peer.send(OK)


@pytest.mark.parametrize("stray", [OK, ERROR, b"HTTP/1.1 408 Slow\r\nContent-Length: 0\r\n\r\n", b"\r\n", b"x"])
async def test_a_connection_that_received_anything_while_it_was_idle_is_not_used_again(client, stray):
    idle, closed = asyncio.Event(), asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await idle.wait()
            await peer.send(stray)
            await peer.wait_lost()
            closed.set()
        await answer_all(peer)

    async with raw_receiver(script) as target:
        await post(client, target.base + "/a")
        idle.set()
        async with asyncio.timeout(3):  # at once, not when its time as an idle connection is up
            await closed.wait()
        result = await post(client, target.base + "/b", body=b"x" * 300_000)
        assert (result.outcome, result.status, target.targets) == (Outcome.SUCCEEDED, 200, ["/a", "/b"])


async def test_a_stray_answer_that_was_not_read_yet_is_noticed_before_its_connection_is_used(client):
    """It comes while the client's loop is busy with something else, with this test."""
    loop = asyncio.get_running_loop()

    async def serve(listening):
        connection, _ = await loop.sock_accept(listening)
        asked.append(await loop.sock_recv(connection, 1 << 16))
        await loop.sock_sendall(connection, OK)
        return connection

    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        serving = asyncio.create_task(serve(listening))
        await post(client, url)
        with await serving as first:
            serving = asyncio.create_task(serve(listening))
            first.send(ERROR)
            result = await post(client, url)
        with await serving:
            assert (result.status, len(asked)) == (200, 2)


async def test_an_answer_that_was_sent_before_its_request_arrived_is_none(client):
    """Our kernel has taken the request whole, the receiver's has not: so the answer cannot be to it."""
    loop = asyncio.get_running_loop()

    async def serve(listening):
        first, _ = await loop.sock_accept(listening)
        with first:
            await loop.sock_recv(first, 1 << 16)
            await loop.sock_sendall(first, OK)
            await asked.wait()
            await loop.sock_sendall(first, OK)
            second, _ = await loop.sock_accept(listening)
        with second:
            while not (await loop.sock_recv(second, 1 << 16)).endswith(b"!"):
                pass
            await loop.sock_sendall(second, ERROR)

    asked = asyncio.Event()
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        serving = asyncio.create_task(serve(listening))
        assert (await post(client, url)).status == 200
        request = asyncio.create_task(post(client, url, body=b"x" * 100_000 + b"!"))
        loop.call_later(0.1, asked.set)  # the request was sent by then
        result = await request
        async with asyncio.timeout(10):
            await serving
    assert (result.status, result.exchange.reused) == (500, False)


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_reused_connection_that_ends_without_an_answer_costs_no_attempt(client, end):
    async def script(peer):
        await peer.request()
        await peer.send(OK)
        await peer.head()
        if peer.number == 1:
            getattr(peer, end)()
        else:
            await peer.send(OK)

    before = repeats()
    async with raw_receiver(script) as target:
        await post(client, target.base)
        result = await post(client, target.base, body=b"")
    assert (result.outcome, result.error, result.exchange.reused) == (Outcome.SUCCEEDED, None, False)
    assert len(target.heads) == 3, "the first, and the second one twice"
    ended = "reset" if end == "reset" else "closed"
    assert result.exchange.resent == f"the connection was {ended} before there was an answer"
    assert repeats() == before + 1


async def test_a_request_that_could_not_go_out_once_more_shows_that_it_went_out_before(client):
    """The receiver may have taken it, although there is no connection in the end."""
    loop = asyncio.get_running_loop()

    async def serve(listening):
        peer, _ = await loop.sock_accept(listening)
        listening.close()
        with peer:
            await loop.sock_recv(peer, 1 << 16)
            await loop.sock_sendall(peer, OK)
            await loop.sock_recv(peer, 1 << 16)

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    serving = asyncio.create_task(serve(listening))
    assert (await post(client, url)).exchange.resent is None
    result = await post(client, url)
    await serving
    assert (result.outcome, result.error) == (Outcome.UNREACHABLE, "no connection: connection refused")
    assert result.exchange.address == url.removeprefix("http://").rstrip("/"), "the only one that was tried"
    assert result.exchange.resent == "the connection was closed before there was an answer"


async def test_a_new_connection_that_ends_without_an_answer_is_a_failed_attempt(client):
    async def script(peer):
        await peer.request()

    async with raw_receiver(script) as target:
        result = await post(client, target.base)
    assert (result.outcome, result.status, len(target.heads)) == (Outcome.UNREACHABLE, None, 1)
    assert result.error == "the connection was closed before there was an answer"


async def test_a_receiver_that_answers_before_it_read_the_body_does_not_spoil_the_next_delivery(client):
    """As Python's http.server with HTTP/1.1 does: it takes the body that it did not read for the next request."""

    async def script(peer):
        await peer.head()
        await peer.send(OK)
        if (await peer.line()).startswith(b"{}POST"):
            await peer.send(b"HTTP/1.1 501 Unsupported method ('{}POST')\r\nConnection: close\r\n\r\n")

    async with raw_receiver(script) as target:
        results = [await post(client, target.base) for _ in range(4)]
    assert [result.status for result in results] == [200] * 4


async def test_an_early_answer_on_a_reused_connection_is_not_taken_for_this_requests(client):
    """Such an answer may belong to no request at all; a receiver that means it refuses on the new connection, too."""

    async def script(peer):
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await peer.head()
            await peer.send(ERROR)
        await answer_all(peer)

    async with raw_receiver(script) as target:
        await post(client, target.base)
        result = await post(client, target.base, body=LARGE)
    assert (result.status, len(target.peers)) == (200, 2)


async def test_a_connection_is_used_for_some_requests_only(client, monkeypatch):
    monkeypatch.setattr(pool, "REQUESTS", 3)
    async with raw_receiver(answer_all) as target:
        for number in range(7):
            assert (await post(client, f"{target.base}/{number}")).outcome is Outcome.SUCCEEDED
        assert len(target.peers) == 3


@pytest.mark.slow
async def test_answers_are_mistaken_for_others_for_a_while_at_most(client, monkeypatch):
    """A stray answer that comes while the next request is under way is taken for its answer, and so on."""
    monkeypatch.setattr(pool, "REQUESTS", 5)

    async def script(peer):
        while True:
            number = int(await peer.request())
            if number:
                await asyncio.sleep(0.1)
            await peer.send(ERROR if number % 2 else OK)
            if not number:
                strays.append(asyncio.get_running_loop().call_later(0.05, peer.greet, OK))

    strays = []
    async with raw_receiver(script) as target:
        statuses = [(await post(client, target.base, body=b"%d" % number)).status for number in range(5)]
        assert statuses == [200, 200, 500, 200, 500], "the answers to the requests before"
        await asyncio.sleep(0.2)
        statuses = [(await post(client, target.base, body=b"%d" % number)).status for number in range(5, 10)]
        assert statuses == [500, 200, 500, 200, 500]
        assert len(target.targets) == 10
        assert len(target.peers) == 6, "each request has a connection of its own from then on"


@pytest.mark.slow
async def test_there_is_no_limit_for_one_host(client):
    """Whether there should be one is up to the deliverer, which can let a delivery wait without an attempt."""
    waiting, lost, go = 0, 0, asyncio.Event()

    async def script(peer):
        nonlocal waiting, lost
        await peer.request()
        waiting += 1
        await go.wait()
        await peer.send(OK)
        await peer.wait_lost()
        lost += 1

    async with raw_receiver(script) as target:
        requests = [asyncio.create_task(post(client, target.base)) for _ in range(120)]
        await eventually(lambda: waiting == 120)
        go.set()
        assert {(await request).status for request in requests} == {200}
        await eventually(lambda: lost == 110)  # ten are kept


async def test_connections_are_kept_for_their_origin_only(client):
    async with receiver() as first, receiver() as second:
        for url in (first.url("/a"), second.url("/b"), first.url("/c")):
            assert (await post(client, url)).status == 200
        one, three = first.requests
        [two] = second.requests
    assert one.peer == three.peer != two.peer


async def test_the_attempt_tells_what_was_called_and_how(client):
    url_of = "/hook?sig=secret&x=%2F&API_Key=k&monkey="
    headers = {"Content-Type": "text/plain", "Authorization": "Bearer t", "X-Api-Key": "k", "X-Mine": "m"}
    async with receiver() as target:
        answer = Answer(status=307, headers={"Location": "/elsewhere", "Retry-After": " 7 "})
        url = target.answer("/hook", answer).removesuffix("/hook") + url_of
        signed = headers | {"webhook-signature": "v1,abc"}
        result = await client.send(url, body=b"x", headers=signed, timeout=timedelta(seconds=10))
        again = await client.send(url, body=b"x", headers=signed, timeout=timedelta(seconds=10))
    exchange = result.exchange
    assert exchange.url == f"{target.base}/hook?sig=***&x=%2F&API_Key=***&monkey="
    assert exchange.request_headers == {
        "Host": target.base.removeprefix("http://"),
        "Content-Type": "text/plain",
        "Authorization": "***",
        "X-Api-Key": "***",
        "X-Mine": "m",
        "webhook-signature": "v1,abc",
        "User-Agent": "signal-broker",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Length": "1",
    }
    assert (exchange.location, exchange.retry_after, exchange.tls) == ("/elsewhere", "7", None)
    assert exchange.address == target.base.removeprefix("http://")
    assert (exchange.reused, again.exchange.reused) == (False, True)
    assert (set(exchange.phases), set(again.exchange.phases)) == (
        {"connect", "firstByte", "total"},
        {"firstByte", "total"},
    )
    assert exchange.phases["total"] >= exchange.phases["firstByte"] > 0


async def test_an_attempt_by_tls_tells_its_version_and_phases(tmp_path):
    authority = Authority(tmp_path)
    async with (
        receiver(ssl=authority.serving("127.0.0.1")) as target,
        WebhookClient(LOOPBACK, concurrency=10, trusted=trust(authority.pem)) as trusting,
    ):
        exchange = (await post(trusting, target.url())).exchange
    assert (exchange.tls, set(exchange.phases)) == ("TLSv1.3", {"connect", "tls", "firstByte", "total"})


async def test_an_attempt_that_failed_tells_what_it_got_to(client):
    result = await post(client, "http://nowhere.invalid/hook?token=t")
    assert result.exchange.url == "http://nowhere.invalid/hook?token=***"
    assert (result.exchange.address, set(result.exchange.phases)) == (None, {"dns", "total"})
    assert "token" not in result.error


@pytest.mark.parametrize("name", ["localhost.", "LOCALHOST.", "hooks.localhost.", "hooks.localhost", "vm-of-mine."])
async def test_a_name_of_this_machine_may_end_in_a_dot(client, tmp_path, monkeypatch, name):
    hosts = tmp_path / "hosts"
    hosts.write_text("# ours\n10.0.0.1 other-vm-of-mine\n127.0.0.1\tVM-of-mine vm-of-mine # a comment\n")
    monkeypatch.setattr("workers.webhooks.dialing._HOSTS_FILE", hosts)
    async with receiver() as target:
        result = await post(client, target.url().replace("127.0.0.1", name))
    assert result.outcome is Outcome.SUCCEEDED
    assert target.requests[0].headers["Host"].split(":")[0] == name.lower().rstrip(".")


async def test_a_request_is_for_the_url_as_it_was_given(client):
    targets = [
        "/q?sp=%2Ftriggers%2Fmanual&x=576%3Acompassion",
        "/~%7Ea/%41",
        "/a/../b",
        "/a/%2e%2e/b",
        "/h?",
        "/?a+b=%20&c=%2B",
        "//double//slash",
        "/%",
    ]
    async with raw_receiver(answer_all) as target:
        for path in [*targets, "", "?x=1"]:
            assert (await post(client, target.base + path)).status == 200
        assert target.targets == [*targets[:-1], "/%25", "/", "/?x=1"]


@pytest.mark.slow
async def test_requests_leave_no_cyclic_garbage(client):
    """Collecting it would hold up the others, and what it keeps until then takes memory."""
    async with raw_receiver(answer_all) as target:
        await post(client, target.base)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(3):
                await post(client, target.base)
            gc.collect()
            left = {type(one).__qualname__ for one in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.enable()
            gc.garbage.clear()
    assert left.isdisjoint({"AnswerReader", "Head", "TimeLimit", "Timeout", "_Call"}), left
