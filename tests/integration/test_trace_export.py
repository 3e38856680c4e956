"""Exporting traces: by gRPC, as OpenTelemetry's variables say, and to collectors that are slow, broken or gone."""

from __future__ import annotations

import pytest

from tests.support.collector import collector, grpc_collector
from tests.support.eventually import eventually
from tests.support.throwing import endpoint, subscribe, throw
from tests.support.traces import CALLER, NUMBERING, PUBLISHING, RECORDING, SERVING, one
from tests.support.waiting import logged

pytestmark = pytest.mark.slow

COLLECTORS = {"http/protobuf": collector, "grpc": grpc_collector}


async def test_spans_come_by_grpc(traced):
    async with grpc_collector() as spans, traced(spans.url, OTEL_EXPORTER_OTLP_PROTOCOL="grpc") as process:
        await subscribe(process.client, "paid", process.webhooks.url())
        await process.client.post("/v1/signals", {"name": "paid"}, expect=202, traceparent=CALLER, tracestate="a=1")
        served, published = await one(spans, SERVING), await one(spans, PUBLISHING)
        attempt, recorded = await one(spans, "POST"), await one(spans, RECORDING)

        assert (served.trace, served.parent, served.state) == ("a" * 32, "b" * 16, "a=1")
        assert (await one(spans, NUMBERING)).parent == published.parent == served.id
        assert (attempt.parent, recorded.links) == (published.id, (published.id,))


@pytest.mark.parametrize("protocol", COLLECTORS)
async def test_a_collector_that_hangs_holds_up_neither_throws_nor_the_end(traced, protocol):
    async with COLLECTORS[protocol](hangs=True) as spans:
        variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
        async with traced(spans.url, DRAIN_TIMEOUT_SECONDS="2", **variables) as process:
            await throw(process.client, "paid")
            await eventually(lambda: spans.requests)
            for _ in range(20):
                await throw(process.client, "paid")
            assert await process.stop() == 0  # the exporter itself would wait for ten minutes
            lines = await logged(process.log, bool)
        assert [line["event"] for line in lines if line["event"].startswith("tracing.")] == ["tracing.unflushed"]


async def test_a_collector_that_answers_500_is_told_once(traced):
    async with collector(status=500) as spans, traced(spans.url, OTEL_EXPORTER_OTLP_TIMEOUT="0.3") as process:
        for requests in range(3):
            await throw(process.client, "paid")
            await eventually(lambda after=requests: spans.requests > after)
        assert await process.stop() == 0
        lines = await logged(process.log, bool)
        assert [line["event"] for line in lines if line["event"].startswith("tracing.")] == ["tracing.failed"]


async def test_a_collector_that_comes_back_is_told_and_gets_what_follows(traced):
    async with collector(status=500) as spans, traced(spans.url, OTEL_EXPORTER_OTLP_TIMEOUT="0.3") as process:
        await throw(process.client, "paid")
        await logged(process.log, lambda lines: any(line["event"] == "tracing.failed" for line in lines))
        spans.status = 200
        await throw(process.client, "paid")
        await logged(process.log, lambda lines: any(line["event"] == "tracing.recovered" for line in lines))
        await eventually(lambda: spans.named(PUBLISHING))


async def test_a_certificate_that_is_not_there_costs_the_traces_alone(traced, tmp_path):
    async with traced("https://127.0.0.1:9", OTEL_EXPORTER_OTLP_CERTIFICATE=str(tmp_path / "none.pem")) as process:
        await throw(process.client, "paid")
        [line] = [line for line in await logged(process.log, _says_of_traces) if line["event"].startswith("tracing.")]
        assert line["event"] in {"tracing.failed", "tracing.unavailable"}


async def test_the_variables_say_who_made_the_spans(traced):
    attributes = "service.version=7,deployment.environment.name=test"
    async with (
        collector() as spans,
        traced(spans.url, OTEL_SERVICE_NAME="broker", OTEL_RESOURCE_ATTRIBUTES=attributes) as process,
    ):
        await throw(process.client, "paid")
        resource = (await one(spans, SERVING)).resource
        named = ("service.name", "service.version", "deployment.environment.name")
        assert [resource[name] for name in named] == ["broker", "7", "test"]


@pytest.mark.parametrize(
    ("sampler", "ratio", "ours", "callers"),
    [
        ("always_off", "", 0, 0),
        ("parentbased_always_off", "", 0, 1),
        ("parentbased_traceidratio", "0", 0, 1),
        ("traceidratio", "1", 1, 1),
    ],
)
async def test_the_sampler_decides_which_traces_are_kept(traced, sampler, ratio, ours, callers):
    async with (
        collector() as spans,
        traced(spans.url, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=ratio) as process,
    ):
        await throw(process.client, "ours")
        await process.client.post("/v1/signals", {"name": "theirs"}, expect=202, traceparent=CALLER)
        assert await process.stop() == 0
        kept = [span.trace == "a" * 32 for span in spans.named(SERVING)]
        assert sorted(kept) == [False] * ours + [True] * callers


async def test_values_that_mean_nothing_are_told_at_the_start_and_the_defaults_hold(traced):
    async with (
        collector() as spans,
        traced(
            spans.url,
            OTEL_TRACES_SAMPLER="sometimes",
            OTEL_BSP_MAX_QUEUE_SIZE="many",
            OTEL_EXPORTER_OTLP_TIMEOUT="10s",
            OTEL_PROPAGATORS="b3",
        ) as process,
    ):
        await process.client.post("/v1/signals", {"name": "paid"}, expect=202, traceparent=CALLER)
        assert (await one(spans, SERVING)).parent == "b" * 16
        lines = [line for line in await logged(process.log, bool) if line["event"] == "tracing.setting_ignored"]
        assert {line["variable"]: line["value"] for line in lines} == {
            "OTEL_EXPORTER_OTLP_TIMEOUT": "10s",
            "OTEL_TRACES_SAMPLER": "sometimes",
            "OTEL_PROPAGATORS": "b3",
            "OTEL_BSP_MAX_QUEUE_SIZE": "many",
        }


async def test_each_signal_of_a_batch_is_a_child_of_its_request_and_all_are_linked_where_they_are_recorded(traced):
    async with collector() as spans, traced(spans.url) as process:
        await process.client.post("/v1/signals/batch", {"signals": [{"name": "paid"}] * 600}, traceparent=CALLER)
        await eventually(lambda: len(spans.named(PUBLISHING)) >= 600)
        served = await one(spans, "POST /v1/signals/batch")
        published = {span.id for span in spans.named(PUBLISHING)}
        assert {span.parent for span in spans.named(PUBLISHING)} == {served.id}
        await eventually(lambda: {link for span in spans.named(RECORDING) for link in span.links} == published)
        for span in spans.named(RECORDING):
            assert len(span.links) == int(span.attributes["messaging.batch.message_count"])


async def test_every_dialect_makes_the_same_spans(traced):
    async with collector() as spans, traced(spans.url) as process:
        _, token = await endpoint(process.client, "alerts")
        for path, body in {
            "/engine-rest/signal": {"name": "paid"},
            "/v2/signals/broadcast": {"signalName": "paid"},
            "/api/signal-endpoint/alerts": {"a": 1},
        }.items():
            client = process.client.caller(token) if "alerts" in path else process.client
            await client.post(path, body, traceparent=CALLER, tracestate="a=1")
        await eventually(lambda: len(spans.named(PUBLISHING)) == 3 and len(served(spans)) == 3)
        servers = served(spans)
        assert {(span.parent, span.state) for span in servers} == {("b" * 16, "a=1")}
        for made in (NUMBERING, PUBLISHING):
            assert {span.parent for span in spans.named(made)} == {span.id for span in servers}


def served(spans):
    return [span for span in spans.spans if span.kind == "SERVER"]


def _says_of_traces(lines):
    return any(line["event"].startswith("tracing.") for line in lines)
