"""Traces as a collector gets them, and as webhooks go on with them."""

from __future__ import annotations

import pytest

from tests.support.collector import collector
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import subscribe, throw
from tests.support.traces import CALLER, NUMBERING, PUBLISHING, RECORDING, SERVING
from tests.support.waiting import logged

pytestmark = pytest.mark.slow

UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"


async def thrown(process, name, **headers):
    """Throw a signal; return it, and the trace context that its webhook got, if it got one."""
    await subscribe(process.client, name, process.webhooks.url(f"/{name}"))
    signal = await process.client.post("/v1/signals", {"name": name}, expect=202, **headers)
    [request] = await eventually(lambda: [one for one in process.webhooks.requests if one.path == f"/{name}"])
    return signal, request.headers.get("traceparent")


async def test_a_trace_goes_from_the_caller_over_the_gateway_and_the_queue_to_the_webhook(traced):
    async with collector() as spans, traced(spans.url, OTEL_SERVICE_NAME="signals") as process:
        signal, traceparent = await thrown(process, "invoice-paid", traceparent=CALLER)
        [published] = await eventually(lambda: spans.named(PUBLISHING))
        [served] = await eventually(lambda: spans.named(SERVING))

        assert (served.kind, served.trace, served.parent) == ("SERVER", "a" * 32, "b" * 16)
        assert served.attributes == {
            "http.request.method": "POST",
            "http.route": "/v1/signals",
            "http.response.status_code": "202",
        }
        assert (published.kind, published.trace, published.parent) == ("PRODUCER", "a" * 32, served.id)
        assert published.attributes["messaging.message.id"] == str(signal["id"])
        [numbered] = await eventually(lambda: spans.named(NUMBERING))
        assert (numbered.kind, numbered.trace, numbered.parent) == ("INTERNAL", "a" * 32, served.id)
        [recorded] = await eventually(lambda: spans.named(RECORDING))
        assert (recorded.kind, recorded.parent, recorded.links) == ("CONSUMER", "", (published.id,))
        [attempt] = await eventually(lambda: spans.named("POST"))
        assert (attempt.kind, attempt.trace, attempt.parent) == ("CLIENT", "a" * 32, published.id)
        assert traceparent == f"00-{attempt.trace}-{attempt.id}-01"
        assert {span.resource["service.name"] for span in spans.spans} == {"signals"}


async def test_a_trace_begins_here_if_the_caller_sent_none(traced):
    async with collector() as spans, traced(spans.url) as process:
        _, traceparent = await thrown(process, "invoice-paid")
        [published] = await eventually(lambda: spans.named(PUBLISHING))
        [served] = await eventually(lambda: spans.named(SERVING))

        assert (served.parent, published.parent) == ("", served.id)
        [attempt] = await eventually(lambda: spans.named("POST"))
        assert attempt.parent == published.id
        assert traceparent == f"00-{served.trace}-{attempt.id}-03"  # the id of the trace is random
        assert served.resource["service.name"] == "signal-broker"


async def test_each_attempt_is_a_span_and_a_retry_says_which_one_it_is(traced):
    async with collector() as spans, traced(spans.url) as process:
        url = process.webhooks.answer("/secret-path", Answer(status=500), Answer())
        await subscribe(process.client, "retried", f"{url}?key=secret", retry={"schedule": [0]})
        await throw(process.client, "retried")
        first, second = await eventually(lambda: spans.named("POST") if len(spans.named("POST")) > 1 else None)
        [published] = await eventually(lambda: spans.named(PUBLISHING))

        assert {first.parent, second.parent} == {published.id}
        assert (first.links, second.links) == ((), (first.id,))
        assert (first.failed, first.attributes["error.type"]) == (True, "500")
        assert (second.failed, second.attributes["http.response.status_code"]) == (False, "200")
        assert "http.request.resend_count" not in first.attributes
        assert second.attributes["http.request.resend_count"] == "1"
        assert first.attributes["server.address"] == "127.0.0.1"
        assert "secret" not in str(spans.spans)
        sent = [request.headers["traceparent"].split("-")[2] for request in process.webhooks.requests]
        assert sent == [first.id, second.id]


async def test_what_the_caller_did_not_sample_makes_no_spans_and_is_passed_on(traced):
    async with collector() as spans, traced(spans.url) as process:
        _, traceparent = await thrown(process, "left-out", traceparent=UNSAMPLED)
        assert traceparent == UNSAMPLED
        await thrown(process, "sampled", traceparent=CALLER)
        assert await process.stop() == 0  # which exports what is left
        assert sorted(span.name for span in spans.spans) == ["POST", SERVING, PUBLISHING, RECORDING, NUMBERING]


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}])
async def test_without_tracing_the_callers_context_is_passed_on_as_it_is(traced, variables):
    async with collector() as spans, traced(spans.url, **variables) as process:
        assert (await thrown(process, "with", traceparent=CALLER))[1] == CALLER
        assert (await thrown(process, "without"))[1] is None
        assert await process.stop() == 0
        assert spans.spans == []


async def test_a_collector_that_is_away_costs_one_line_of_the_log(traced):
    async with traced("http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1") as process:
        for _ in range(3):
            await throw(process.client, "invoice-paid")
            await logged(process.log, lambda lines: any(line["event"] == "tracing.failed" for line in lines))
        assert await process.stop(within=10) == 0
        lines = await logged(process.log, bool)
        [line] = [line for line in lines if line["event"].startswith("tracing.")]
        assert (line["event"], line["address"]) == ("tracing.failed", "http://127.0.0.1:9/v1/traces")
        assert line["error"]


async def test_a_batch_is_recorded_in_spans_that_link_to_each_of_its_signals(traced):
    async with collector() as spans, traced(spans.url) as process:
        await process.client.post("/v1/signals/batch", {"signals": [{"name": "a"}] * 20})
        await eventually(lambda: len(spans.named(PUBLISHING)) == 20)
        published = {one.id for one in spans.named(PUBLISHING)}
        await eventually(lambda: {link for one in spans.named(RECORDING) for link in one.links} == published)
        counts = [int(one.attributes["messaging.batch.message_count"]) for one in spans.named(RECORDING)]
        assert sum(counts) == 20
