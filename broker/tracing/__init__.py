"""Traces, by OpenTelemetry: spans of throws, of publishing, of recording and of attempts, exported over OTLP.

Without an endpoint in the environment (`OTEL_EXPORTER_OTLP_ENDPOINT`) nothing of OpenTelemetry is imported and no span
is made. Spans carry neither payloads nor credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from broker.tracing.contexts import TraceContext, read_context
from broker.tracing.exporting import Dropping, NoteDropped, open_export
from broker.tracing.spans import Attempt, Span, Tracer

__all__ = ["Attempt", "Dropping", "Span", "TraceContext", "Tracer", "read_context", "tracer", "tracing"]

_FLUSHING = timedelta(seconds=5)
"""How long a process that ends exports what is left, at most."""

_active: Tracer | None = None


def tracer() -> Tracer | None:
    """Return what makes this process's spans; None if tracing is off."""
    return _active


@asynccontextmanager
async def tracing(*, drain_timeout: timedelta, note_dropped: NoteDropped) -> AsyncIterator[None]:
    """Trace meanwhile, if the environment says where to; leaving exports what is left, within *drain_timeout*.

    If this is cancelled, what is left is not waited for. *note_dropped* is told of spans that are not exported.
    """
    global _active  # noqa: PLW0603  (OpenTelemetry is configured for a process)
    export = open_export(note_dropped)
    if export is not None:
        _active = export.tracer
    within = min(drain_timeout, _FLUSHING)
    try:
        yield
    except asyncio.CancelledError:
        within = timedelta()
        raise
    finally:
        _active = None
        if export is not None:
            await export.close(within=within)
