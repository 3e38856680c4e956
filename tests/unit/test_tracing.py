"""When processes trace, and when they do not."""

from __future__ import annotations

import sys
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from broker.tracing import Tracer, tracer, tracing


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


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01", "00-1-2-3", None])
def test_a_message_without_a_context_that_can_be_read_has_no_span(traceparent):
    with Tracer(None).processing("signals.record", [traceparent]):
        pass
