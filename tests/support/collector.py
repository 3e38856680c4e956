"""A collector of OpenTelemetry's: it takes spans over OTLP/HTTP, and keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from gzip import decompress

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A span as it came; ids are hexadecimal, `parent` is empty for the first one of a trace, `links` are spans."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: Mapping[str, str]
    service: str
    failed: bool


class Collector:
    """What `collector` yields: `spans` in the order they came, and `url`."""

    def __init__(self) -> None:
        self.spans: list[Collected] = []
        self.url = ""

    def named(self, name: str) -> list[Collected]:
        """Return the spans of that name."""
        return [span for span in self.spans if span.name == name]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body.startswith(b"\x1f\x8b"):
            body = decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            of = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.spans += [
                _collected(span, of["service.name"]) for scope in resource.scope_spans for span in scope.spans
            ]
        return web.Response(content_type="application/x-protobuf")


def _collected(span: Span, service: str) -> Collected:
    attributes = {pair.key: pair.value.string_value or str(pair.value.int_value) for pair in span.attributes}
    return Collected(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in span.links),
        attributes=attributes,
        service=service,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """Run a collector until the block is left."""
    collector = Collector()
    app = web.Application(client_max_size=16 << 20)
    app.router.add_post("/v1/traces", collector._take)  # noqa: SLF001
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        collector.url = f"http://{host}:{port}"
        yield collector
    finally:
        await runner.cleanup()
