"""When processes trace, and when they do not."""

from __future__ import annotations

import sys
from datetime import timedelta

from structlog.testing import capture_logs

from broker.tracing import tracer, tracing


async def test_without_the_extra_the_log_says_so_and_there_are_no_traces(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with capture_logs() as lines:
        async with tracing(drain_timeout=timedelta(seconds=1)):
            assert tracer() is None
    assert [line["event"] for line in lines] == ["tracing.unavailable"]


async def test_without_an_endpoint_nothing_is_said(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    with capture_logs() as lines:
        async with tracing(drain_timeout=timedelta(seconds=1)):
            assert tracer() is None
    assert lines == []
