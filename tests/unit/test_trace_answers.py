"""What a collector may answer over HTTP that is broken or hostile: it costs the process neither memory nor time."""

from __future__ import annotations

import asyncio
import gzip
import logging
import tracemalloc
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from broker.metrics import note_dropped_spans
from broker.tracing import TraceContext, tracer, tracing
from tests.support.eventually import eventually
from tests.support.traces import set_variables

CONTEXT = TraceContext(f"00-{'a' * 32}-{'b' * 16}-01")
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
BOMB = gzip.compress(bytes(200 << 20))


class Hostile:
    """A server that sends `head` to each request, and then `piece` again and again, every `pause` seconds."""

    def __init__(self, head, piece, pause):
        self.head, self.piece, self.pause = head, piece, pause
        self.sent = self.connections = 0
        self.requests = []
        self.open = set()

    async def serve(self, reader, writer):
        self.connections += 1
        self.open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head)
                [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
                await reader.readexactly(int(length.split(b":")[1]))
                writer.write(self.head)
                while self.piece:
                    writer.write(self.piece)
                    await writer.drain()
                    self.sent += len(self.piece)
                    await asyncio.sleep(self.pause)
        self.open.discard(writer)
        writer.close()


@asynccontextmanager
async def hostile(head, piece=b"", pause=0.0):
    server = Hostile(head, piece, pause)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    server.url = f"http://{host}:{port}"
    async with listening:
        yield server
        listening.close()
        for writer in server.open:
            writer.close()
        await eventually(lambda: not server.open)


@pytest.fixture
def traces(monkeypatch):
    """Enter it with a server, and variables, for the log lines of a process that traces to it."""

    @asynccontextmanager
    async def run(server, **variables):
        set_variables(
            monkeypatch,
            OTEL_EXPORTER_OTLP_ENDPOINT=server.url,
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
            OTEL_BSP_SCHEDULE_DELAY="10",
            **variables,
        )
        with capture_logs() as lines:
            async with tracing(drain_timeout=timedelta(seconds=5), note_dropped=note_dropped_spans):
                yield lines

    return run


def make_span():
    with tracer().processing("signals.record", [CONTEXT]):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "piece", "pause"),
    [
        (b"HTTP/1.1 500 No\r\n" + CHUNKED, b"1\r\nx\r\n", 0.05),
        (b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n", b"x", 0.05),
        (b"HTTP/1.1 ", b"2", 0.05),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.05),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
        (b"HTTP/1.1 500 No\r\n" + CHUNKED, PIECE, 0),
        (b"HTTP/1.1 500 No\r\n" + CHUNKED + b"0\r\n", b"A: b\r\n", 0.05),
    ],
)
async def test_an_export_ends_in_time_however_slowly_the_answer_comes(traces, head, piece, pause):
    async with hostile(head, piece, pause) as server, traces(server) as lines:
        make_span()
        [line] = await eventually(lambda: lines, within=3)
        assert (line["event"], line["address"]) == ("tracing.failed", f"{server.url}/v1/traces")
        assert server.sent < 8 << 20, "what fits into the buffers of both sockets"


@pytest.mark.slow
async def test_of_a_success_that_never_ends_a_few_bytes_are_read(traces):
    async with hostile(b"HTTP/1.1 200 OK\r\n" + CHUNKED, PIECE) as server, traces(server) as lines:
        for number in range(1, 4):
            make_span()
            await eventually(lambda after=number: server.connections >= after)
        assert server.sent < 24 << 20
    assert lines == []


@pytest.mark.slow
@pytest.mark.parametrize("status", ["200 OK", "302 Found", "400 Bad Request"])
async def test_no_answer_is_inflated(traces, status):
    head = f"HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\nLocation: /\r\nContent-Length: {len(BOMB)}\r\n\r\n"
    async with hostile(head.encode() + BOMB) as server, traces(server):
        tracemalloc.start()
        make_span()
        await eventually(lambda: server.connections and not server.open)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 << 20


async def test_a_redirect_is_not_followed_and_no_success(traces):
    async with hostile(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as other:
        head = f"HTTP/1.1 307 Elsewhere\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
        async with hostile(head.encode()) as server, traces(server) as lines:
            make_span()
            [line] = await eventually(lambda: lines)
    assert line["event"] == "tracing.failed"
    assert "HTTP 307, and redirects are not followed" in line["error"]
    assert other.requests == []


async def test_a_connection_is_used_again_and_cookies_are_not_kept(traces):
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}"
    async with hostile(head) as server, traces(server) as lines:
        for number in range(1, 4):
            make_span()
            await eventually(lambda after=number: len(server.requests) == after)
        assert server.connections == 1
    assert b"cookie" not in b"".join(server.requests).lower()
    assert lines == []


async def test_what_is_wrong_with_an_answers_headers_is_not_logged_for_each_batch(traces, caplog):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno header\r\nA: b\r\n\r\n"
    async with hostile(head) as server, traces(server):
        for number in range(1, 3):
            make_span()
            await eventually(lambda after=number: len(server.requests) == after)
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_header_that_the_collector_repeats_is_not_logged(traces):
    head = b"HTTP/1.1 401 Bearer hunter2 is unknown\r\nContent-Length: 0\r\n\r\n"
    headers = "authorization=Bearer%20hunter2"
    async with hostile(head) as server, traces(server, OTEL_EXPORTER_OTLP_HEADERS=headers) as lines:
        make_span()
        [line] = await eventually(lambda: lines)
    assert b"Bearer hunter2" in server.requests[0]
    assert line["error"] == "Failed to export spans batch code: 401, reason: *** is unknown"


async def test_a_header_with_a_line_break_is_told_at_the_start(traces):
    headers = "authorization=Bearer%20hunter2%0Ax"
    async with (
        hostile(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as server,
        traces(server, OTEL_EXPORTER_OTLP_HEADERS=headers) as lines,
    ):
        make_span()
        await eventually(lambda: server.requests)
    [line] = lines
    assert (line["event"], line["variable"], line["value"]) == (
        "tracing.setting_ignored",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "",
    )
    assert "hunter2" not in str(line)
