"""What a connection may take: time without a request, time to read its answer, a place among a limited number."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import weakref
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from broker import metrics
from gateway.app import DIALECTS
from gateway.connections import RESERVE, Connections, Wait
from gateway.server import Runner
from tests.support.eventually import eventually
from tests.support.forms import is_camunda
from tests.support.product import client_of

SOON, NEVER = timedelta(seconds=0.1), timedelta(minutes=5)
HALF = b"POST /engine-rest/signal HTTP/1.1\r\nHost: x\r\n"
WHOLE = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
PROBE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """A server with a few paths, whose connections are bounded as a test wants."""

    def __init__(self, runner):
        self.runner = runner
        self.going_on = asyncio.Event()
        """Lets `/slow` be answered."""
        self.answers = []
        """References to the answers of `/large`."""
        self.slow = 0
        """How many requests of `/slow` have come."""
        self._before = open_connections()

    @property
    def open(self):
        """How many connections it has; the metric counts those of the whole process."""
        return open_connections() - self._before

    @asynccontextmanager
    async def connected(self, *pieces, buffer=None):
        """Yield the ends of a new connection to which *pieces* were written; *buffer* bounds what it receives."""
        client = socket.create_connection(self.runner.addresses[0][:2])
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        reader, writer = await asyncio.open_connection(sock=client, limit=1 << 10)
        try:
            writer.writelines(pieces)
            yield reader, writer
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(*, most=100, **patience):
    app = web.Application()
    connections = Connections(most, {wait: patience.get(wait.name.lower(), NEVER) for wait in Wait})
    server = Server(Runner(app, DIALECTS, connections, access_log=None, shutdown_timeout=0, read_bufsize=1 << 15))

    async def livez(_request):
        return web.Response(text="alive")

    async def large(_request):
        answer = web.Response(body=bytes(20 << 20))
        server.answers.append(weakref.ref(answer))
        return answer

    async def slow(_request):
        server.slow += 1
        await server.going_on.wait()
        return web.Response(text="done")

    async def refuse(_request):
        return web.Response(status=401)

    app.router.add_get("/livez", livez)
    app.router.add_get("/hello", livez)
    app.router.add_get("/large", large)
    app.router.add_get("/slow", slow)
    app.router.add_post("/refuse", refuse)
    await server.runner.setup()
    await web.TCPSite(server.runner, "127.0.0.1", 0).start()
    try:
        server.connections = connections
        yield server
    finally:
        server.going_on.set()
        await server.runner.cleanup()


async def answered(reader):
    """Return (status, headers, body) of the next answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def closed(reader):
    """Wait until the server has closed the connection, which it does in time; return what it sent before."""
    async with asyncio.timeout(20):
        try:
            return await reader.read(-1)
        except ConnectionResetError:
            return b""


def closings(rule):
    return metrics.REGISTRY.get_sample_value("signal_broker_http_connections_closed_total", {"rule": rule})


def open_connections():
    return metrics.REGISTRY.get_sample_value("signal_broker_http_connections")


async def test_a_connection_is_counted_unless_its_last_request_was_a_probe():
    before = closings("idle")
    async with serving() as server, server.connected(PROBE) as (reader, writer):
        for request, counted in [(b"", 0), (WHOLE, 1), (PROBE, 0)]:
            writer.write(request)
            assert (await answered(reader))[0] == 200
            assert server.open == counted
    async with (
        serving(idle=SOON) as server,
        server.connected(PROBE) as (reader, _),
        server.connected(WHOLE) as (other, _),
    ):
        assert await closed(reader)
        assert await closed(other)
        await eventually(lambda: server.open == 0)
    assert closings("idle") == before + 1


async def test_connections_that_are_not_of_callers_are_not_counted():
    async with serving() as server:
        server.connections.of_callers = False
        async with server.connected(WHOLE) as (reader, _):
            assert (await answered(reader))[0] == 200
            assert server.open == 0


async def test_a_connection_that_sends_nothing_is_closed():
    before = closings("head")
    async with serving(head=SOON) as server, server.connected() as (reader, _):
        assert await closed(reader) == b""
        assert closings("head") == before + 1


async def test_a_head_that_does_not_arrive_is_a_408_in_the_dialects_form():
    async with serving(head=SOON) as server, server.connected(HALF) as (reader, _):
        status, headers, body = await answered(reader)

        assert (status, headers["connection"], is_camunda(status, json.loads(body))) == (408, "close", True)
        assert await closed(reader) == b""


async def test_a_head_that_comes_byte_by_byte_has_no_more_time():
    async with serving(head=timedelta(seconds=0.4)) as server, server.connected() as (reader, writer):

        async def drip():
            for byte in HALF + b"X: " + b"x" * 10_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert (await answered(reader))[0] == 408
        await closed(reader)
        dripping.cancel()


async def test_an_idle_connection_is_closed_and_the_head_of_its_next_request_has_a_time():
    async with serving(idle=SOON) as server, server.connected(WHOLE) as (reader, _):
        assert (await answered(reader))[0] == 200
        assert await closed(reader) == b""
    async with serving(head=SOON) as server, server.connected(WHOLE) as (reader, writer):
        assert (await answered(reader))[0] == 200
        writer.write(HALF)
        assert (await answered(reader))[0] == 408


async def test_a_request_that_is_worked_on_has_no_bound_here():
    async with serving(head=SOON, idle=SOON, unread=SOON, ending=SOON) as server:
        request = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
        async with server.connected(request) as (reader, _), server.connected() as (other, _):
            await closed(other)
            server.going_on.set()
            assert (await answered(reader))[0] == 200


@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
async def test_an_answer_that_is_not_read_is_cut_off(connection):
    before = closings("unread")
    request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: " + connection + b"\r\n\r\n"
    async with serving(unread=SOON) as server, server.connected(request, buffer=4096):
        await eventually(lambda: closings("unread") == before + 1)
        await eventually(lambda: server.open == 0)


async def test_an_answer_whose_caller_has_gone_is_not_kept_until_garbage_is_collected():
    gc.collect()
    gc.disable()
    try:
        async with serving() as server:
            async with server.connected(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", buffer=4096) as (reader, _):
                await reader.readline()
                (answer,) = server.answers
                assert answer() is not None
            await eventually(lambda: answer() is None)
    finally:
        gc.enable()


async def test_after_the_last_answer_the_caller_has_to_go():
    before = closings("ending")
    request = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    async with serving(ending=SOON) as server, server.connected(request) as (reader, _):
        assert (await answered(reader))[0] == 401
        await eventually(lambda: closings("ending") == before + 1)
        await eventually(lambda: server.open == 0)


async def test_a_head_has_a_bound_in_bytes():
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 8000) for number in range(10))
    async with (
        serving() as server,
        server.connected(HALF, *[lines[at : at + 1000] for at in range(0, 80_000, 1000)]) as (
            reader,
            _,
        ),
    ):
        status, _, body = await answered(reader)

        assert (status, is_camunda(status, json.loads(body))) == (431, True)


async def test_all_heads_together_have_a_bound_in_bytes(monkeypatch):
    """What is small has room all the same, and what has gone gives its room back."""
    monkeypatch.setattr("gateway.connections.MOST_HEADS", 10_000)
    request, line = b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"X: " + b"x" * 2000 + b"\r\n"
    async with serving() as server:
        for _ in range(2):
            async with AsyncExitStack() as stack:
                for _ in range(4):
                    await stack.enter_async_context(server.connected(request, line))
                reader, writer = await stack.enter_async_context(server.connected(request, line))
                await eventually(lambda: server.open == 5)
                writer.write(2 * line)
                assert (await answered(reader))[0] == 503
                reader, writer = await stack.enter_async_context(server.connected(request, b"X: x"))
                writer.write(b"\r\n\r\n")
                assert (await answered(reader))[0] == 200
            await eventually(lambda: server.open == 0)
        async with server.connected(request, line) as (reader, writer):
            writer.write(2 * line)
            writer.write(b"\r\n")
            assert (await answered(reader))[0] == 200


async def test_a_crowd_makes_room_for_those_that_come_after_it():
    """Those that have used up most of their time go; one that is used stays."""
    before = closings("limit")
    async with serving(most=20, idle=timedelta(days=1)) as server, AsyncExitStack() as stack:
        used, writer = await stack.enter_async_context(server.connected(WHOLE))
        assert (await answered(used))[0] == 200
        crowd = [await stack.enter_async_context(server.connected(HALF[:half])) for half in (0, 10) * 20]
        await asyncio.gather(*(closed(reader) for reader, _ in crowd[:-19]))
        for _ in range(10):
            reader, _ = await stack.enter_async_context(server.connected(WHOLE))
            assert (await answered(reader))[0] == 200
        writer.write(WHOLE)
        assert (await answered(used))[0] == 200
        assert closings("limit") == before + 21 + 10
        assert server.open == 20


async def test_when_all_are_worked_on_only_probes_are_answered():
    slow = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(most=10) as server, AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(server.connected(slow)) for _ in range(10)]
        await eventually(lambda: server.slow == 10)
        for _ in range(2 * RESERVE):
            async with server.connected(slow.replace(b"/slow", b"/engine-rest/signal")) as (reader, _):
                status, headers, body = await answered(reader)
                assert (status, headers["retry-after"], is_camunda(status, json.loads(body))) == (503, "1", True)
            probe, _ = await stack.enter_async_context(server.connected(PROBE))
            assert (await answered(probe))[0] == 200
        spare, writer = await stack.enter_async_context(server.connected())
        server.going_on.set()
        for reader, _ in busy:
            assert (await answered(reader))[0] == 200
        for _, used in busy:
            used.close()
        await eventually(lambda: server.open <= 10)
        writer.write(slow)
        assert (await answered(spare))[0] == 200


async def test_a_refused_body_is_not_received(monkeypatch):
    """Fifty megabytes are not taken, while the caller gets its answer."""
    monkeypatch.setattr("gateway.server._LINGER", 0.5)
    head = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (50 << 20)
    async with serving() as server, server.connected(head) as (reader, writer):
        sent = 0

        async def send():
            nonlocal sent
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()
                sent += 1 << 16

        sending = asyncio.create_task(send())
        status, headers, _ = await answered(reader)
        assert (status, headers["connection"]) == (401, "close")
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(20):
                await sending
        assert sent < 20 << 20  # most of it in buffers of the system


@pytest.mark.slow
async def test_throws_and_probes_are_answered_beside_a_crowd(embedded_product, name):
    """As the settings bound it; each of the crowd is closed by one of the two rules."""
    settings = {"HTTP_CONNECTIONS": "20", "HEADER_TIMEOUT_SECONDS": "1"}
    async with embedded_product.sibling("gateway", **settings) as gateway, client_of(gateway.url) as client:
        address = urlsplit(gateway.url)
        crowd = [await asyncio.open_connection(address.hostname, address.port) for _ in range(200)]
        for _, writer in crowd[::2]:
            writer.write(HALF)
        for _ in range(10):
            await client.post("/v1/signals", {"name": name}, expect=202)
            assert (await client.request("GET", "/readyz"))[0] == 200
        for reader, writer in crowd:
            await closed(reader)
            writer.transport.abort()
        _, _, exposed = await client.request("GET", "/metrics")
        counted = {
            rule: float(re.search(rf'closed_total{{rule="{rule}"}} ([0-9.]+)', exposed.decode())[1])
            for rule in ("limit", "head")
        }
        assert counted["limit"] >= 180
        assert counted["head"] <= 20


async def test_a_server_that_leaves_answers_everybody_and_then_ends_the_connection():
    async with serving() as server, server.connected(WHOLE) as (reader, writer), server.connected() as (other, wrote):
        assert (await answered(reader))[0] == 200
        leaving = asyncio.create_task(server.connections.leave(quiet=NEVER, within=NEVER))
        await eventually(lambda: server.connections.leaving)
        for one, of in ((reader, writer), (other, wrote)):
            assert not leaving.done()
            of.write(WHOLE)
            status, headers, _ = await answered(one)
            assert (status, headers["connection"]) == (200, "close")
            assert await closed(one) == b""
        await leaving


async def test_nor_does_it_wait_for_callers_that_are_silent_or_for_nobody():
    async with serving() as server:
        async with server.connected(WHOLE) as (reader, _):
            await answered(reader)
            await server.connections.leave(quiet=SOON, within=NEVER)
            await server.connections.leave(quiet=NEVER, within=SOON)
        await eventually(lambda: server.open == 0)
        await server.connections.leave(quiet=NEVER, within=NEVER)
