"""A collector of OpenTelemetry's: it takes spans over OTLP, by HTTP or by gRPC, and keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from gzip import decompress

import grpc
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A span as it came; ids are hexadecimal, `parent` is empty for the first one of a trace, `links` are spans."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    links: tuple[str, ...]
    attributes: Mapping[str, str]
    resource: Mapping[str, str]
    failed: bool


class Collector:
    """What `collector` and `grpc_collector` yield: `spans` in the order they came, and `url`.

    Args:
        status: What it answers over HTTP.
        hangs: Whether it takes requests, and answers none.
    """

    def __init__(self, *, status: int = 200, hangs: bool = False) -> None:
        self.spans: list[Collected] = []
        self.url = ""
        self.status = status
        self.hangs = hangs
        self.requests = 0
        self._ending = asyncio.Event()

    def named(self, name: str) -> list[Collected]:
        """Return the spans of that name."""
        return [span for span in self.spans if span.name == name]

    def end(self) -> None:
        """Let go of the requests that hang."""
        self._ending.set()

    async def take(self, request: ExportTraceServiceRequest) -> None:
        """Take the spans of *request*."""
        self.requests += 1
        if self.hangs:
            await self._ending.wait()
        for resource in request.resource_spans:
            of = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.spans += [_collected(span, of) for scope in resource.scope_spans for span in scope.spans]

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body.startswith(b"\x1f\x8b"):
            body = decompress(body)
        if self.status == 200:
            await self.take(ExportTraceServiceRequest.FromString(body))
        else:
            self.requests += 1
        return web.Response(status=self.status, content_type="application/x-protobuf")


class _Service(TraceServiceServicer):  # type: ignore[misc,unused-ignore]
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(  # noqa: N802  (the name in the protocol)
        self, request: ExportTraceServiceRequest, _: object
    ) -> ExportTraceServiceResponse:
        await self._collector.take(request)
        return ExportTraceServiceResponse()


def _collected(span: Span, resource: Mapping[str, str]) -> Collected:
    attributes = {pair.key: pair.value.string_value or str(pair.value.int_value) for pair in span.attributes}
    return Collected(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        links=tuple(link.span_id.hex() for link in span.links),
        attributes=attributes,
        resource=resource,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )


@asynccontextmanager
async def collector(*, status: int = 200, hangs: bool = False) -> AsyncIterator[Collector]:
    """Run a collector over HTTP until the block is left."""
    collector = Collector(status=status, hangs=hangs)
    app = web.Application(client_max_size=16 << 20)
    app.router.add_post("/v1/traces", collector._answer)  # noqa: SLF001
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        collector.url = f"http://{host}:{port}"
        yield collector
    finally:
        collector.end()
        await runner.cleanup()


@asynccontextmanager
async def grpc_collector(*, hangs: bool = False) -> AsyncIterator[Collector]:
    """Run a collector over gRPC until the block is left."""
    collector, server = Collector(hangs=hangs), grpc.aio.server()
    add_TraceServiceServicer_to_server(_Service(collector), server)
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        collector.end()
        await server.stop(grace=None)
