"""Exporting spans over OTLP, as OpenTelemetry's variables say."""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from typing import Any, cast

import structlog

from broker.reasons import named_reason_of
from broker.tracing.spans import CHOSEN_ID, Tracer
from broker.tracing.variables import GRPC, find_wrong, hide_credentials, is_wanted, protocol

_WITHOUT_SDK = "traces take the extra signal-broker[otel], which is not installed"
_WITHOUT_GRPC = "OTEL_EXPORTER_OTLP_PROTOCOL=grpc takes the extra signal-broker[otel-grpc], which is not installed"
_NAME = "signal-broker"
_LONGEST_WORDS = 300
_MOST_LINKS = "256"
"""A recorder's batch has fewer messages; OpenTelemetry's own limit is 128."""
_MOST_BATCHES = 64
"""How many spans of batches wait for the collector: with 256 links each they take 20 MB."""
_OWN_SESSIONS = tuple(f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{of}CREDENTIAL_PROVIDER" for of in ("", "TRACES_"))
"""Variables that name a plug-in which makes the HTTP session; that session has to bound its requests itself."""
_SHARED = "OTEL_PROPAGATORS"
"""A variable that handlers may need for calls of their own."""

log = structlog.get_logger()


class Dropping(enum.StrEnum):
    """Why the collector did not get a span: as many waited as may, or it was away or refused it."""

    FULL = "full"
    REFUSED = "refused"


NoteDropped = Callable[[Dropping, int], None]
"""Called with how many spans are dropped, in any thread."""


class LastWords(logging.Handler):
    """What OpenTelemetry logged last in each thread: why a batch was not taken, of which it returns nothing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of_thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's message."""
        self._of_thread.text = record.getMessage()

    def take(self) -> str:
        """Return what was said in this thread, once; an empty text for nothing."""
        text, self._of_thread.text = getattr(self._of_thread, "text", ""), ""
        return str(text)


def _address(endpoint: str) -> str:
    """Return *endpoint* without a password or a query."""
    scheme, _, rest = endpoint.rpartition("://")
    authority, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}".removeprefix("://")


def _in_line(words: str) -> str:
    """Return what OpenTelemetry said, in one line that has no credentials."""
    return " ".join(hide_credentials(words, os.environ).split())[:_LONGEST_WORDS]


class Exporter:
    """Exports by *exporter*; tells once that the collector cannot be reached, and once that it can be again.

    Several threads may export at once. *note_dropped* is called in theirs. *said* has what OpenTelemetry said of the
    failure, if it said anything.
    """

    def __init__(self, exporter: Any, note_dropped: NoteDropped, said: LastWords | None = None) -> None:
        self._exporter = exporter
        self._note_dropped = note_dropped
        self._said = said or LastWords()
        self._address = _address(str(getattr(exporter, "_endpoint", "")))
        self._fails = self._ended = False
        self._telling = threading.Lock()

    def export(self, spans: Any) -> Any:
        """Export *spans*, as OpenTelemetry asks an exporter to."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            self._note_dropped(Dropping.REFUSED, len(spans))
            self._note(named_reason_of(error))
            raise
        if result.name == "SUCCESS":
            self._note(None)
        else:
            self._note_dropped(Dropping.REFUSED, len(spans))
            self._note(self._said.take() or "it refused them, or did not answer in time")
        return result

    def shutdown(self) -> None:
        """Give up what is being exported."""
        if not self._ended:
            self._ended = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return whether all is exported, as OpenTelemetry asks an exporter to."""
        return bool(self._exporter.force_flush(timeout_millis))

    def _note(self, error: str | None) -> None:
        with self._telling:
            failed, self._fails = self._fails, error is not None
            if error is not None and not failed and not self._ended:
                hint = "the collector does not take spans; they are dropped meanwhile"
                log.warning("tracing.failed", address=self._address, error=_in_line(error), hint=hint)
            elif error is None and failed:
                log.info("tracing.recovered")


class Queue:
    """Counts the spans that wait for *exporter*, of which there are *most*, and those that are dropped.

    The oldest one is dropped for each that comes while it is full. Spans end in any thread.
    """

    def __init__(self, exporter: Exporter, most: int, note_dropped: NoteDropped) -> None:
        self._exporter = exporter
        self._most = most
        self._note_dropped = note_dropped
        self._waiting = 0
        self._lock = threading.Lock()

    def note_ended(self) -> None:
        """Note that a span waits from now on."""
        with self._lock:
            dropped = self._waiting >= self._most
            self._waiting += not dropped
        if dropped:
            self._note_dropped(Dropping.FULL, 1)
            log.warning("tracing.dropped", most=self._most, hint="more spans end than the collector takes")

    def export(self, spans: Any) -> Any:
        """Export *spans*, which wait no longer."""
        with self._lock:
            self._waiting = max(0, self._waiting - len(spans))
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        """See `Exporter.shutdown`."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See `Exporter.force_flush`."""
        return self._exporter.force_flush(timeout_millis)


class Export:
    """Where spans go: `tracer` makes them, and what it makes is exported in the background until `close`.

    Args:
        tracer: What makes them.
        processors: What keeps them until they are exported.
        exporter: What exports them.
    """

    def __init__(self, tracer: Tracer, processors: Sequence[Any], exporter: Exporter) -> None:
        self.tracer = tracer
        self._processors = processors
        self._exporter = exporter

    async def close(self, *, within: timedelta) -> None:
        """Export what is left, *within* that time; what cannot be exported by then is dropped.

        An export that hangs is left to a thread that does not keep the process.
        """
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            for processor in self._processors:
                processor.force_flush()
            for processor in self._processors:
                processor.shutdown()
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(flushed.set)

        threading.Thread(target=flush, name="tracing:flush", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await flushed.wait()
        if not flushed.is_set():
            log.warning("tracing.unflushed", hint="the collector did not take the last spans in time")
            threading.Thread(target=self._exporter.shutdown, name="tracing:shutdown", daemon=True).start()


def open_export(note_dropped: NoteDropped) -> Export | None:
    """Return where spans go by the environment; None if it wants no traces, or they cannot be made.

    What is wrong with it is logged: no signal waits for traces. OpenTelemetry's defaults hold instead.
    """
    if not is_wanted(os.environ):
        return None
    for variable, value, hint in find_wrong(os.environ):
        log.warning("tracing.setting_ignored", variable=variable, value=value, hint=hint)
        if variable != _SHARED:
            del os.environ[variable]
    if not is_wanted(os.environ):
        return None
    try:
        return _open(note_dropped)
    except ImportError:
        log.error("tracing.unavailable", hint=_WITHOUT_GRPC if _has_sdk() else _WITHOUT_SDK)  # noqa: TRY400
    except Exception as error:  # noqa: BLE001  (OpenTelemetry has no error of its own for settings)
        log.error("tracing.unavailable", hint=f"OpenTelemetry refuses its settings: {_in_line(str(error))}")  # noqa: TRY400
    return None


def _has_sdk() -> bool:
    try:
        import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        import_module("opentelemetry.sdk.resources")
    except ImportError:
        return False
    return True


def _open(note_dropped: NoteDropped) -> Export:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

    class Ids(RandomIdGenerator):
        def generate_span_id(self) -> int:
            return CHOSEN_ID.get() or int(super().generate_span_id())

    os.environ.setdefault("OTEL_SERVICE_NAME", _NAME)
    os.environ.setdefault("OTEL_SPAN_LINK_COUNT_LIMIT", _MOST_LINKS)
    said, told = LastWords(), logging.getLogger("opentelemetry")
    told.addHandler(said)
    told.propagate = False  # it would tell of each batch; `Exporter` tells once
    package = "grpc" if protocol(os.environ).lower() == GRPC else "http"
    exporting = import_module(f"opentelemetry.exporter.otlp.proto.{package}.trace_exporter")
    options = {}
    if package == "http" and not any(map(os.environ.get, _OWN_SESSIONS)):
        options["session"] = import_module("broker.tracing.sessions").open_session()
    exporter = Exporter(exporting.OTLPSpanExporter(**options), note_dropped, said)
    resource, ids = Resource.create(), Ids()

    class Processor(BatchSpanProcessor):
        def __init__(self, most: int | None = None, at_once: int | None = None) -> None:
            default: Callable[[], int] = self._default_max_queue_size
            self._spans = Queue(exporter, most or default(), note_dropped)
            super().__init__(cast(Any, self._spans), max_queue_size=most, max_export_batch_size=at_once)

        def on_end(self, span: Any) -> None:
            if span.context.trace_flags.sampled:
                self._spans.note_ended()
            super().on_end(span)

    def provide(processor: Any) -> TracerProvider:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=ids)
        provider.add_span_processor(processor)
        return provider

    processors = [
        Processor(),
        Processor(_MOST_BATCHES, _MOST_BATCHES // 2),
    ]
    provider, of_batches = map(provide, processors)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # handlers' own spans go the same way
        trace.set_tracer_provider(provider)
    return Export(Tracer(provider.get_tracer(_NAME), of_batches.get_tracer(_NAME)), processors, exporter)
