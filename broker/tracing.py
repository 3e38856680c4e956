"""Traces, by OpenTelemetry: spans of throws, of publishing, of recording and of attempts, exported over OTLP.

Without an endpoint in the environment (`OTEL_EXPORTER_OTLP_ENDPOINT`) nothing of OpenTelemetry is imported and no span
is made. Spans carry neither payloads nor credentials.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import Any

import structlog
from yarl import URL

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXTRA = "signal-broker[otel] is not installed, or the exporter for OTEL_EXPORTER_OTLP_PROTOCOL"

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

_FLUSHING = timedelta(seconds=5)
"""How long a process that ends exports what is left, at most."""

log = structlog.get_logger()


class Span:
    """A span that goes on, or the place of one that the sampler has left out.

    Args:
        traceparent: The W3C trace context of what it causes.
        span: OpenTelemetry's.
    """

    def __init__(self, traceparent: str, span: Any) -> None:
        self.traceparent = traceparent
        self._span = span

    def answered(self, status: int) -> None:
        """Note the HTTP *status* of the answer; from 500 on, the span has failed."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self.failed(str(status))

    def attempted(self, status: int | None, *, succeeded: bool) -> None:
        """Note whether an attempt *succeeded*, and the HTTP *status* of the receiver's answer, if there was one."""
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if not succeeded:
            self.failed("_OTHER" if status is None else str(status))

    def failed(self, kind: str) -> None:
        """Note that it failed by an error of *kind*."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(_api().StatusCode.ERROR)


class Tracer:
    """Makes spans.

    Args:
        tracer: OpenTelemetry's.
    """

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    @contextmanager
    def serving(self, route: str, method: str, traceparent: str | None) -> Iterator[Span]:
        """Yield the span of a request by *method* to *route*, a child of the caller's, if it sent *traceparent*."""
        attributes = {"http.request.method": method, "http.route": route}
        with self._span(f"{method} {route}", "SERVER", traceparent, attributes) as span:
            yield span

    @contextmanager
    def publishing(self, queue: str, signal_id: int, traceparent: str | None) -> Iterator[Span]:
        """Yield the span of publishing a signal to *queue*, from the first try to the confirm."""
        attributes = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": queue,
            "messaging.message.id": str(signal_id),
        }
        with self._span(f"publish {queue}", "PRODUCER", traceparent, attributes) as span:
            yield span

    @contextmanager
    def processing(self, queue: str, traceparents: Sequence[str | None]) -> Iterator[None]:
        """Span the work on a batch of messages of *queue*, linked to what published them, unless none is sampled."""
        api = _api()
        contexts = [_parse(one) for one in traceparents if one is not None]
        links = [api.Link(context) for context in contexts if context is not None and context.trace_flags.sampled]
        if not links:
            yield
            return
        attributes: dict[str, str | int] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.operation.name": "record",
            "messaging.destination.name": queue,
            "messaging.batch.message_count": len(traceparents),
        }
        with self._span(f"record {queue}", "CONSUMER", None, attributes, links):
            yield

    @contextmanager
    def attempting(
        self, method: str, url: str, attempt: int, delivery_id: str, traceparent: str | None
    ) -> Iterator[Span]:
        """Yield the span of an *attempt* (1 is the first) at a webhook; of its URL, host and port alone are told."""
        attributes: dict[str, str | int] = {"http.request.method": method, "signal_broker.delivery.id": delivery_id}
        with suppress(ValueError):  # the client answers a URL that is none
            to = URL(url)
            attributes |= {"server.address": to.host or "", "server.port": to.port or 0}
        if attempt > 1:
            attributes["http.request.resend_count"] = attempt - 1
        with self._span(method, "CLIENT", traceparent, attributes) as span:
            yield span

    @contextmanager
    def _span(
        self,
        name: str,
        kind: str,
        traceparent: str | None,
        attributes: Mapping[str, str | int],
        links: Sequence[Any] = (),
    ) -> Iterator[Span]:
        api = _api()
        parent = None if traceparent is None else _parse(traceparent)
        context = api.set_span_in_context(api.NonRecordingSpan(parent or api.INVALID_SPAN_CONTEXT))
        started = self._tracer.start_span(name, context, getattr(api.SpanKind, kind), attributes, links)
        if parent is not None and not started.is_recording():
            yield Span(traceparent or "", started)  # left out: what it causes belongs to the caller's
            return
        span = Span(_show(started.get_span_context()), started)
        try:
            yield span
        except BaseException as error:
            span.failed(type(error).__name__)
            raise
        finally:
            started.end()


class _Exporter:
    """Exports by *exporter*; tells once that the collector cannot be reached, and once that it can be again."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._fails = self._ended = False

    def export(self, spans: Any) -> Any:
        result = self._exporter.export(spans)
        fails = result.name != "SUCCESS"
        if fails and not self._fails:
            log.warning("tracing.failed", hint="the collector does not take spans; they are dropped meanwhile")
        elif self._fails and not fails:
            log.info("tracing.recovered")
        self._fails = fails
        return result

    def shutdown(self) -> None:
        if not self._ended:
            self._ended = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))


_active: Tracer | None = None


def tracer() -> Tracer | None:
    """Return what makes this process's spans; None if tracing is off."""
    return _active


@asynccontextmanager
async def tracing(*, drain_timeout: timedelta) -> AsyncIterator[None]:
    """Trace meanwhile, if the environment says where to; leaving exports what is left, within *drain_timeout*."""
    global _active  # noqa: PLW0603  (OpenTelemetry is configured for a process)
    exporter = processor = None
    if _is_wanted(os.environ):
        try:
            _active, processor, exporter = _open()
        except ImportError:
            log.warning("tracing.unavailable", hint=_EXTRA)
    try:
        yield
    finally:
        _active = None
        if processor is not None and exporter is not None:
            flushing = asyncio.create_task(asyncio.to_thread(processor.shutdown))
            await asyncio.wait([flushing], timeout=min(drain_timeout, _FLUSHING).total_seconds())
            exporter.shutdown()  # what it cannot export by now is dropped, and the thread ends
            await flushing


def _is_wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(name) for name in _ENDPOINTS)


def _protocol(environment: Mapping[str, str]) -> str:
    name = "OTEL_EXPORTER_OTLP_PROTOCOL"
    return environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(name, "http/protobuf")


def _open() -> tuple[Tracer, Any, _Exporter]:
    """Return the tracer that the environment describes, what keeps its spans, and what exports those."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    os.environ.setdefault("OTEL_SERVICE_NAME", "signal-broker")
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it would tell of each batch; `_Exporter` tells once
    protocol = "grpc" if _protocol(os.environ) == "grpc" else "http"
    exporting = import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.trace_exporter")
    exporter = _Exporter(exporting.OTLPSpanExporter())
    processor = BatchSpanProcessor(exporter)  # type: ignore[arg-type,unused-ignore]
    provider = TracerProvider(resource=Resource.create(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return Tracer(provider.get_tracer("signal-broker")), processor, exporter


@cache
def _api() -> Any:
    from opentelemetry import trace  # noqa: PLC0415

    return trace


def _parse(traceparent: str) -> Any:
    """Return the span context in *traceparent*; None if it is not one, or its ids are all zeros."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    api = _api()
    trace_id, span_id, flags = (int(number, 16) for number in found.groups())
    context = api.SpanContext(trace_id, span_id, is_remote=True, trace_flags=api.TraceFlags(flags & 1))
    return context if context.is_valid else None


def _show(context: Any) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
