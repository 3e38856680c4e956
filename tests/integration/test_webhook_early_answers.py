"""Answers that come early: those from before the request are none, others may be."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network

import pytest
import uvloop

from broker.deliveries import Outcome
from broker.egress import Guard
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.raw_receiver import OK, raw_receiver
from workers.webhooks import tcp
from workers.webhooks.answers import AnswerReader
from workers.webhooks.client import WebhookClient
from workers.webhooks.connection import Connection
from workers.webhooks.dialing import trust
from workers.webhooks.failures import Failure, Stale

LOOPBACK = Guard([ip_network("127.0.0.0/8")])
ERROR = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
EARLY = "the receiver answered 200 before it received any of the request"
REQUEST = b"POST / HTTP/1.1\r\nHost: h\r\n\r\n"
LARGE = b"x" * 8_000_000
"""More than the kernel's buffers of a connection hold, so that a receiver has to read for it to be written."""


@pytest.fixture
async def client():
    async with WebhookClient(LOOPBACK, concurrency=10) as client:
        yield client


async def post(client, url, *, body=b"{}", within=10.0):
    headers = {"content-type": "application/json"}
    return await client.send(url, body=body, headers=headers, timeout=timedelta(seconds=within))


async def answer_all(peer):
    while True:
        await peer.request()
        await peer.send(OK)


async def test_a_success_that_comes_before_the_request_was_taken_is_none(client):
    async def script(peer):
        await peer.head()
        await peer.send(OK)
        await asyncio.Event().wait()

    async with raw_receiver(script) as target:
        result = await post(client, target.base, body=LARGE, within=0.5)
    assert (result.outcome, result.status) == (Outcome.UNREACHABLE, None)
    assert result.error == "the receiver answered 200, but did not take the whole request within 0.5 s"


async def test_a_success_that_comes_early_counts_once_the_request_was_taken(client):
    async def script(peer):
        await peer.head()
        await peer.send(OK)
        await peer.read(len(LARGE))
        await answer_all(peer)

    async with raw_receiver(script) as target:
        results = [await post(client, target.base, body=body) for body in (LARGE, b"{}")]
    assert [(result.status, result.exchange.reused) for result in results] == [(200, False), (200, True)]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_refusal_that_comes_before_the_body_was_read_is_one(client, tmp_path, tls):
    async def script(peer):
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n")
        await peer.wait_lost()

    authority = Authority(tmp_path)
    async with (
        raw_receiver(script, tls=authority.serving("127.0.0.1") if tls else None) as target,
        WebhookClient(LOOPBACK, concurrency=10, trusted=trust(authority.pem)) as trusting,
    ):
        result = await post(trusting, target.base, body=LARGE)
    assert (result.outcome, result.status, result.error) == (Outcome.REFUSED, 413, "HTTP 413 Too large")


@pytest.mark.parametrize(
    ("greeting", "problem"),
    [
        (OK, EARLY),
        (ERROR, "the receiver answered 500 before it received any of the request"),
        (OK[:9], "the receiver answered before it received any of the request"),
        (b"", "the connection was closed before there was an answer"),
        (b"220 mail\r\n", "the answer is not HTTP: it begins with '220 mail'"),
    ],
    ids=["answer", "refusal", "beginning", "end", "mail"],
)
async def test_a_connection_whose_receiver_does_not_wait_for_a_request_is_not_used(greeting, problem):
    async def script(peer):
        await peer.send(greeting)
        if greeting:
            await peer.wait_lost()

    async with raw_receiver(script) as target:
        host, port = target.base.removeprefix("http://").split(":")
        _, connection = await asyncio.get_running_loop().create_connection(Connection, host, int(port))
        await eventually(lambda: connection.closed)
        with pytest.raises(Failure, match=problem):
            await connection.exchange(REQUEST, b"", AnswerReader())


@asynccontextmanager
async def connected(authority):
    """Yield a new connection, by TLS if there is an *authority*, and the receiver's end of it, which no loop serves."""
    tls = {} if authority is None else {"ssl": trust(authority.pem), "server_hostname": "127.0.0.1"}
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as aside:
        accepting = aside.submit(accept, listening, authority)
        _, connection = await asyncio.get_running_loop().create_connection(Connection, *listening.getsockname(), **tls)
        with accepting.result(5) as peer:
            yield connection, peer
        connection.abort()


def accept(listening, authority):
    peer, _ = listening.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer if authority is None else authority.serving("127.0.0.1").wrap_socket(peer, server_side=True)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_what_came_before_the_first_request_was_written_is_no_answer(tmp_path, tls):
    """The loop has not read it yet: it is busy with something else, with this test."""
    async with connected(Authority(tmp_path) if tls else None) as (connection, peer):
        peer.sendall(OK)
        with pytest.raises(Failure, match=EARLY):
            await connection.exchange(REQUEST, b"", AnswerReader())
        peer.settimeout(5)
        assert not peer.recv(100), "nothing was sent"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_an_answer_from_before_the_first_byte_of_the_request_arrived_is_none(tmp_path, tls):
    """Our kernel has the request, and keeps it for up to 200 ms (``TCP_CORK``)."""
    async with connected(Authority(tmp_path) if tls else None) as (connection, peer):
        with socket.socket(fileno=os.dup(connection.transport.get_extra_info("socket").fileno())) as sending:
            sending.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            exchange = asyncio.create_task(connection.exchange(REQUEST, b"", AnswerReader()))
            await eventually(lambda: tcp.unacknowledged(sending))
            peer.sendall(OK)
            with pytest.raises(Failure, match=EARLY):
                await exchange


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_an_answer_counts_although_the_receiver_has_only_the_beginning_of_the_request(tmp_path, tls):
    async with connected(Authority(tmp_path) if tls else None) as (connection, peer):
        answer = AnswerReader()
        exchange = asyncio.create_task(connection.exchange(REQUEST, LARGE, answer))
        await asyncio.to_thread(peer.recv, 100)
        peer.sendall(ERROR)
        await exchange
    assert answer.head.status == 500


class Interrupting(AnswerReader):
    """Reads an answer, after which the receiver closes the connection while the loop is busy for long."""

    def __init__(self, peer):
        super().__init__()
        self._peer = peer

    def feed(self, data):
        super().feed(data)
        asyncio.get_running_loop().call_soon(self._interrupt)

    def _interrupt(self):
        self._peer.close()
        time.sleep(0.15)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_refusal_on_a_used_connection_is_none_although_the_loop_is_late_to_read_its_end(loop):
    async def use_twice():
        async with connected(None) as (connection, peer):
            exchange = asyncio.create_task(connection.exchange(REQUEST, b"", AnswerReader()))
            await asyncio.to_thread(peer.recv, 100)
            peer.sendall(OK)
            await exchange
            exchange = asyncio.create_task(connection.exchange(REQUEST, b"", Interrupting(peer)))
            await asyncio.to_thread(peer.recv, 100)
            peer.sendall(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
            with pytest.raises(Stale, match="answered 400 on a connection that was used before"):
                await exchange

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(use_twice())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_refusal_on_a_used_connection_counts_if_that_stays(loop):
    async def use_thrice():
        async with connected(None) as (connection, peer):
            for answer in (OK, b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", OK):
                exchange = asyncio.create_task(connection.exchange(REQUEST, b"", AnswerReader()))
                await asyncio.to_thread(peer.recv, 100)
                peer.sendall(answer)
                await exchange
                assert connection.kept
                assert connection.usable

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(use_thrice())
