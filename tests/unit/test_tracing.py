"""When processes trace, and when they do not; how attempts are told apart and linked."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from broker import metrics
from broker.metrics import note_dropped_spans
from broker.tracing import Attempt, TraceContext, Tracer, tracer, tracing
from broker.tracing.exporting import Exporter, LastWords, Queue
from tests.support.traces import set_variables

CONTEXT = TraceContext(f"00-{'a' * 32}-{'b' * 16}-01")
GRPC = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"


@pytest.fixture
def environment(monkeypatch):
    """Set variables for one test, which may take them away itself."""

    def change(**variables):
        set_variables(monkeypatch, **{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | variables)

    return change


async def lines_of_a_process():
    """Return the log lines of a process about traces, and whether it makes any."""
    with capture_logs() as lines:
        async with tracing(drain_timeout=timedelta(seconds=1), note_dropped=note_dropped_spans):
            traces = tracer() is not None
    return [(line["event"], line["log_level"], line["hint"]) for line in lines], traces


async def test_without_the_extra_the_log_says_so_and_there_are_no_traces(environment, monkeypatch):
    environment()
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    lines = [("tracing.unavailable", "error", "traces take the extra signal-broker[otel], which is not installed")]
    assert await lines_of_a_process() == (lines, False)


async def test_without_the_extra_of_grpc_the_log_says_so_at_the_start(environment, monkeypatch):
    environment(OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    monkeypatch.setitem(sys.modules, GRPC, None)
    hint = "OTEL_EXPORTER_OTLP_PROTOCOL=grpc takes the extra signal-broker[otel-grpc], which is not installed"
    assert await lines_of_a_process() == ([("tracing.unavailable", "error", hint)], False)


async def test_settings_that_refuse_each_other_cost_the_traces_alone(environment):
    environment(OTEL_BSP_MAX_QUEUE_SIZE="10", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="20")
    [(event, level, hint)], traces = await lines_of_a_process()
    assert (event, level, traces) == ("tracing.unavailable", "error", False)
    assert "max_export_batch_size must be less than or equal to max_queue_size" in hint


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_TRACES_SAMPLER", "OTEL_SPAN_LINK_COUNT_LIMIT"])
async def test_a_wrong_value_is_said_and_the_default_holds(environment, name):
    environment(**{name: "nonsense"})
    with capture_logs() as lines:
        async with tracing(drain_timeout=timedelta(seconds=1), note_dropped=note_dropped_spans):
            assert tracer() is not None
    [line] = lines
    assert (line["event"], line["variable"], line["value"]) == ("tracing.setting_ignored", name, "nonsense")


async def test_an_endpoint_that_is_none_is_said_and_there_are_no_traces(environment):
    environment(OTEL_EXPORTER_OTLP_ENDPOINT="collector:4317")
    [(event, _, hint)], traces = await lines_of_a_process()
    assert (event, traces) == ("tracing.setting_ignored", False)
    assert hint == "must be a URL, http:// or https://; it is left out"


async def test_without_an_endpoint_nothing_is_said(environment):
    environment(OTEL_EXPORTER_OTLP_ENDPOINT="", OTEL_TRACES_SAMPLER="nonsense")
    assert await lines_of_a_process() == ([], False)


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01", "00-1-2-3", None])
def test_a_message_without_a_context_that_can_be_read_has_no_span(traceparent):
    context = None if traceparent is None else TraceContext(traceparent)
    with Tracer(None, None).processing("signals.record", [context]):
        pass


def attempt(number, *, is_retry=True, message_id="7-3", context=CONTEXT):
    return Attempt(
        signal_id=7, delivery_id="7-3", message_id=message_id, number=number, is_retry=is_retry, context=context
    )


def test_an_attempt_links_to_the_span_of_the_one_before_it():
    first, second, third = attempt(1, is_retry=False), attempt(2), attempt(3)
    assert (first.linked_id, second.linked_id, third.linked_id) == (None, first.span_id, second.span_id)
    assert len({first.span_id, second.span_id, third.span_id}) == 3
    assert 0 < first.span_id < 1 << 64


def test_attempts_of_other_deliveries_steps_and_signals_have_other_spans():
    other = TraceContext(f"00-{'a' * 32}-{'c' * 16}-01")
    spans = [attempt(1), attempt(1, message_id="7-4"), attempt(1, message_id="7-3-1"), attempt(1, context=other)]
    assert len({one.span_id for one in spans}) == 4


def test_an_attempt_without_a_context_has_a_span_by_chance_and_no_link():
    assert (attempt(2, context=None).span_id, attempt(2, context=None).linked_id) == (None, None)


class Collector:
    """An exporter that says what it is told to."""

    def __init__(self, result):
        self.result = SimpleNamespace(name=result)

    def export(self, _spans):
        return self.result


def spans_dropped(reason):
    return metrics.REGISTRY.get_sample_value("signal_broker_spans_dropped_total", {"reason": reason})


def test_each_span_that_ends_while_as_many_wait_as_may_drops_one():
    queue, before = (
        Queue(Exporter(Collector("SUCCESS"), note_dropped_spans), 10, note_dropped_spans),
        spans_dropped("full"),
    )
    with capture_logs() as lines:
        for _ in range(13):
            queue.note_ended()
    assert spans_dropped("full") == before + 3
    assert [line["event"] for line in lines] == ["tracing.dropped"] * 3
    queue.export([None] * 4)
    for _ in range(5):
        queue.note_ended()
    assert spans_dropped("full") == before + 4


@pytest.mark.parametrize(("result", "dropped"), [("SUCCESS", 0), ("FAILURE", 7)])
def test_spans_that_the_collector_refuses_are_counted(result, dropped):
    before = spans_dropped("refused")
    Exporter(Collector(result), note_dropped_spans).export([None] * 7)
    assert spans_dropped("refused") == before + dropped


def failing(begin):
    """Return an exporter of which nothing is taken; *begin* is called with the spans."""

    def export(spans):
        begin(spans)
        return SimpleNamespace(name="FAILURE")

    return SimpleNamespace(export=export)


def test_two_threads_whose_spans_are_refused_tell_it_once(monkeypatch):
    told, both = [], threading.Barrier(2)

    def tell(event, **_fields):
        told.append(event)
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.2)

    monkeypatch.setattr("broker.tracing.exporting.log", SimpleNamespace(warning=tell))
    exporter = Exporter(failing(lambda _: both.wait(timeout=10)), note_dropped_spans)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(exporter.export, [[None], [None]]))
    assert told == ["tracing.failed"]


def test_that_the_collector_is_back_is_told_after_that_it_is_away(monkeypatch):
    told = []

    def tell(event, **_fields):
        if event == "tracing.failed":
            back = threads.submit(exporter.export, [None])
            with suppress(TimeoutError):
                back.result(timeout=0.2)
        told.append(event)

    monkeypatch.setattr("broker.tracing.exporting.log", SimpleNamespace(warning=tell, info=tell))
    results = iter(["FAILURE", "SUCCESS"])
    collector = SimpleNamespace(export=lambda _: SimpleNamespace(name=next(results)))
    exporter = Exporter(collector, note_dropped_spans)
    with ThreadPoolExecutor(1) as threads:
        exporter.export([None])
    assert told == ["tracing.failed", "tracing.recovered"]


def test_each_thread_tells_what_was_said_in_it():
    said, first, second = LastWords(), threading.Event(), threading.Event()

    def say(words):
        if words == "second":
            first.wait(10)
        said.emit(logging.makeLogRecord({"msg": words}))
        (first if words == "first" else second).set()
        second.wait(10)

    def export(words):
        exporter = Exporter(failing(say), note_dropped_spans, said)
        with capture_logs() as lines:
            exporter.export(words)
        return [line["error"] for line in lines]

    with ThreadPoolExecutor(1) as other:
        later = other.submit(say, "second")
        assert export("first") == ["first"]
        later.result()
        assert other.submit(said.take).result() == "second"


def test_an_exception_is_told_without_the_values_of_headers(environment):
    """GRPC repeats the metadata that it cannot send."""
    environment(OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20hunter2")

    class Refusing:
        def export(self, _spans):
            raise ValueError("metadata was invalid:\n[('authorization', 'Bearer hunter2')]")

    with capture_logs() as lines, pytest.raises(ValueError, match="metadata"):
        Exporter(Refusing(), note_dropped_spans).export([None])
    assert [line["error"] for line in lines] == ["ValueError: metadata was invalid: [('authorization', '***')]"]


@pytest.mark.slow
async def test_links_that_wait_for_a_collector_that_is_away_are_bounded(environment):
    from opentelemetry.trace import Link  # noqa: PLC0415

    environment()
    before = spans_dropped("full")
    async with tracing(drain_timeout=timedelta(milliseconds=1), note_dropped=note_dropped_spans):
        for _ in range(200):
            with tracer().processing("signals.record", [CONTEXT] * 250):
                pass
        assert spans_dropped("full") > before
        assert sum(type(one) is Link for one in gc.get_objects()) <= (64 + 32) * 250


@pytest.mark.slow
async def test_the_function_that_is_called_is_within_the_span_and_others_are_not(environment):
    from opentelemetry import trace  # noqa: PLC0415

    environment()
    async with tracing(drain_timeout=timedelta(seconds=1), note_dropped=note_dropped_spans):
        with tracer().handling("deliveries.attempt.app", "app/book", attempt(1)) as span:
            inside = await asyncio.create_task(asyncio.to_thread(trace.get_current_span))
            assert f"{inside.get_span_context().span_id:016x}" == span.context.traceparent.split("-")[2]
        assert not trace.get_current_span().get_span_context().is_valid


async def test_without_sampling_the_function_is_within_the_callers_span(environment):
    from opentelemetry import trace  # noqa: PLC0415

    environment()
    unsampled = TraceContext(f"00-{'a' * 32}-{'b' * 16}-00", "a=1")
    async with tracing(drain_timeout=timedelta(seconds=1), note_dropped=note_dropped_spans):
        with tracer().handling("deliveries.attempt.app", "app/book", attempt(1, context=unsampled)) as span:
            assert span.context == unsampled
            inside = trace.get_current_span().get_span_context()
            assert (f"{inside.span_id:016x}", inside.trace_flags.sampled) == ("b" * 16, False)
            assert inside.trace_state.to_header() == "a=1"
