"""Answers by TLS that begin to come too early: what came of a record is known to nothing but the kernel."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from ipaddress import ip_network

import pytest
import uvloop

from broker.deliveries import Outcome
from broker.egress import Guard
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from workers.webhooks.client import WebhookClient
from workers.webhooks.dialing import trust

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
CUTS = [1, 5, 30, -1]
V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Peer:
    """The receiver's end of a connection with TLS, which sends any part of its records when it likes."""

    def __init__(self, connection, context):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(10)
        self.connection = connection
        self._received, self._sealed = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sealed, server_side=True)

    def shake_hands(self):
        """Take part in the handshake, and return its last bytes, which are not sent yet."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.connection.sendall(self._sealed.read())
                self._received.write(self.connection.recv(1 << 16))
            else:
                return self._sealed.read()

    def seal(self, answer):
        """Return the record of *answer*."""
        self._tls.write(answer)
        return self._sealed.read()

    def request(self):
        """Read a request."""
        read = b""
        while not read.endswith(b"{}"):
            try:
                read += self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self._received.write(self.connection.recv(1 << 16))

    def finish(self, rest):
        """Send the rest of a record, if the connection is still there."""
        with suppress(ConnectionError):
            self.connection.sendall(rest)

    def await_request(self):
        """Wait until the next request is there, without reading it, or the connection is closed."""
        select.select([self.connection], [], [], 10)


@contextmanager
def accepting(tmp_path, serve, version=V1_3):
    """Run `serve(accept)` beside the loop, and yield its URL, and a client's TLS context."""
    authority = Authority(tmp_path)
    context = authority.serving("127.0.0.1")
    context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as aside:
        listening.settimeout(3)
        serving = aside.submit(serve, lambda: Peer(listening.accept()[0], context))
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/", trust(authority.pem)
        serving.result(20)


async def post(client, url):
    return await client.send(url, body=b"{}", headers={}, timeout=timedelta(seconds=10))


async def post_twice(url, trusted, between):
    """Send a webhook, and another one once *between* is set, and return what became of that."""
    async with WebhookClient(Guard([ip_network("127.0.0.0/8")]), concurrency=1, trusted=trusted) as client:
        assert (await post(client, url)).status == 200
        await eventually(between.is_set)
        return await post(client, url)


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("together", [False, True], ids=["later", "together"])
def test_half_a_record_on_an_idle_connection_is_no_answer_to_the_next_request(tmp_path, loop, version, cut, together):
    def serve(accept):
        peer = accept()
        peer.connection.sendall(peer.shake_hands())
        peer.request()
        answer, stray = peer.seal(OK), peer.seal(OK)
        peer.connection.sendall(answer + stray[:cut] if together else answer)
        if not together:
            peer.connection.sendall(stray[:cut])
        begun.set()
        with peer.connection:
            peer.await_request()
            peer.finish(stray[cut:])
            other = accept()
            with other.connection:
                other.connection.sendall(other.shake_hands())
                other.request()
                other.connection.sendall(other.seal(CREATED))

    begun = threading.Event()
    with accepting(tmp_path, serve, version) as (url, trusted), asyncio.Runner(loop_factory=loop) as runner:
        result = runner.run(post_twice(url, trusted, begun))
    assert (result.status, result.exchange.reused) == (201, False)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("answer", [OK, GONE], ids=["success", "refusal"])
@pytest.mark.parametrize("cut", CUTS)
def test_half_a_record_that_comes_with_the_handshake_is_no_answer(tmp_path, loop, answer, cut):
    def serve(accept):
        peer = accept()
        with peer.connection:
            last = peer.shake_hands()
            record = peer.seal(answer)
            peer.connection.sendall(last + record[:cut])
            peer.await_request()
            peer.finish(record[cut:])

    async def call(url, trusted):
        async with WebhookClient(Guard([ip_network("127.0.0.0/8")]), concurrency=1, trusted=trusted) as client:
            return await post(client, url)

    with accepting(tmp_path, serve, V1_2) as (url, trusted), asyncio.Runner(loop_factory=loop) as runner:
        result = runner.run(call(url, trusted))
    assert (result.outcome, result.status) == (Outcome.UNREACHABLE, None)
    status = answer[9:12].decode()
    assert result.error == f"the receiver answered {status} before it received any of the request"
