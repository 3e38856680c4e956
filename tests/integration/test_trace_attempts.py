"""Spans of attempts at queues, handlers and webhooks with steps, and of what is delivered later or again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.collector import collector
from tests.support.eventually import eventually
from tests.support.queues import declare, fresh_queue, take
from tests.support.receiver import Answer
from tests.support.throwing import delivery, subscribe, throw
from tests.support.traces import CALLER, PUBLISHING, one, some

pytestmark = pytest.mark.slow

APP = "tests.support.traced_app:handlers"
STATE = "tenant@vendor=1,other=x y"
NOW = {"schedule": [0.0] * 9}


async def webhook(process, path):
    """Return the request to *path*, once it is there."""
    [request] = await eventually(lambda: [one for one in process.webhooks.requests if one.path == path])
    return request


def parent_of(headers):
    return headers["traceparent"].split("-")[2]


async def test_attempts_at_a_handler_are_spans_and_the_function_starts_its_own_within_them(traced):
    async with collector() as spans, traced(spans.url, "--app", APP) as process:
        url = process.webhooks.answer("/", Answer(status=500), Answer())
        await throw(process.client, "order.paid", payload=url)
        first, second = await some(spans, "call traced/book", 2)
        published = await one(spans, PUBLISHING)

        assert (first.kind, first.trace, first.parent) == ("CONSUMER", published.trace, published.id)
        assert (first.links, second.links) == ((), (first.id,))
        assert (first.failed, second.failed) == (True, False)
        assert first.attributes["error.type"] == "refused"
        assert second.attributes == {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.operation.name": "call",
            "messaging.destination.name": "deliveries.attempt.handlers.traced",
            "messaging.message.id": published.attributes["messaging.message.id"],
            "signal_broker.delivery.id": second.attributes["signal_broker.delivery.id"],
            "signal_broker.attempt": "2",
            "code.function.name": "traced/book",
        }
        assert [span.parent for span in await some(spans, "booking", 2)] == [first.id, second.id]
        assert [parent_of(request.headers) for request in process.webhooks.requests] == [first.id, second.id]


async def test_a_function_in_a_thread_is_within_the_span_of_its_call(traced):
    async with collector() as spans, traced(spans.url, "--app", APP) as process:
        await throw(process.client, "order.sent", payload=process.webhooks.url())
        call = await one(spans, "call traced/print_label")
        assert (await one(spans, "printing")).parent == call.id
        assert [parent_of(request.headers) for request in process.webhooks.requests] == [call.id]


async def test_attempts_at_a_queue_are_spans_and_their_messages_go_on_with_them(traced, rabbitmq_url):
    async with collector() as spans, traced(spans.url, TRANSPORT_URL=rabbitmq_url) as process:
        queue = fresh_queue()
        target = {"kind": "queue", "queue": queue}
        subscription = await process.client.post(
            "/v1/subscriptions", {"name": "queued", "target": target, "retry": NOW}
        )
        body = {"name": "queued"}
        signal = await process.client.post("/v1/signals", body, expect=202, traceparent=CALLER, tracestate=STATE)
        await eventually(lambda: spans.named(f"publish {queue}"))
        await declare(rabbitmq_url, queue=queue)
        done = await delivery(process.client, signal, subscription, "delivered")
        attempts = await some(spans, f"publish {queue}", len(done["attempts"]))
        published = await one(spans, PUBLISHING)
        [[(_, message, _)]] = await take(rabbitmq_url, queue)

        assert {(span.kind, span.trace, span.parent) for span in attempts} == {("PRODUCER", "a" * 32, published.id)}
        assert [span.links for span in attempts] == [(), *((span.id,) for span in attempts[:-1])]
        assert [span.attributes.get("error.type") for span in attempts] == ["unroutable"] * (len(attempts) - 1) + [None]
        assert attempts[0].attributes == {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": queue,
            "messaging.message.id": str(signal["id"]),
            "signal_broker.delivery.id": done["id"],
            "signal_broker.attempt": "1",
            "error.type": "unroutable",
        }
        assert (parent_of(message.headers), message.headers["tracestate"]) == (attempts[-1].id, STATE)


async def test_the_steps_of_an_attempt_are_spans_and_only_the_one_that_is_repeated_has_a_link(traced):
    async with collector() as spans, traced(spans.url) as process:
        steps = [
            {"target": {"kind": "webhook", "url": process.webhooks.answer(f"/{name}", *answers)}}
            for name, answers in {"a": [Answer()], "b": [Answer(status=500), Answer()], "c": [Answer()]}.items()
        ]
        await process.client.post("/v1/subscriptions", {"name": "stepped", "steps": steps, "retry": NOW})
        await throw(process.client, "stepped")
        attempts = await some(spans, "POST", 4)
        paths = {parent_of(request.headers): request.path for request in process.webhooks.requests}

        assert [paths[span.id] for span in attempts] == ["/a", "/b", "/b", "/c"]
        assert [span.links for span in attempts] == [(), (), (attempts[1].id,), ()]
        assert ["http.request.resend_count" in span.attributes for span in attempts] == [False, False, True, False]


async def test_what_is_delivered_later_or_again_belongs_to_the_trace_of_the_throw(traced):
    async with collector() as spans, traced(spans.url) as process:
        client, url = process.client, process.webhooks.answer("/", Answer(status=500), Answer())
        subscription = await subscribe(client, "later", url, retry={"schedule": []})
        at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        body = {"name": "later", "deliverAt": at}
        signal = await client.post("/v1/signals", body, expect=202, traceparent=CALLER, tracestate=STATE)
        dead = await delivery(client, signal, subscription, "dead")
        await client.post(f"/v1/deliveries/{dead['id']}/redrive", {})
        await delivery(client, signal, subscription, "delivered")
        other = await subscribe(client, "later", process.webhooks.url("/replayed"))
        await client.post(f"/v1/subscriptions/{other['id']}/replay", {"since": signal["createdAt"]})
        await delivery(client, signal, other, "delivered")
        first, redriven, replayed = await some(spans, "POST", 3)
        published = await one(spans, PUBLISHING)

        assert {span.trace for span in (first, redriven, replayed)} == {"a" * 32}
        assert {span.parent for span in (first, redriven, replayed)} == {published.id}
        assert (first.links, redriven.links, replayed.links) == ((), (first.id,), ())
        assert {span.state for span in spans.spans if span.trace == "a" * 32} == {STATE}
        assert {request.headers["tracestate"] for request in process.webhooks.requests} == {STATE}


@pytest.mark.parametrize("disabled", ["true", "false"])
async def test_a_state_is_passed_on_with_a_valid_parent_and_no_throw_is_refused(traced, disabled):
    cases = [
        (CALLER, "a=1, b=2", "a=1,b=2"),
        (CALLER, "a=1,a=2", None),
        (CALLER, "k=" + "v" * 3000, None),
        ("nonsense", "a=1", None),
        (f"00-{'0' * 32}-{'b' * 16}-01", "a=1", None),
        (f"ff-{'a' * 32}-{'b' * 16}-01", "a=1", None),
    ]
    async with collector() as spans, traced(spans.url, OTEL_SDK_DISABLED=disabled) as process:
        for number, (parent, state, passed_on) in enumerate(cases):
            await subscribe(process.client, f"state-{number}", process.webhooks.url(f"/{number}"))
            headers = {"traceparent": parent, "tracestate": state, "baggage": "user=7"}
            await process.client.post("/v1/signals", {"name": f"state-{number}"}, expect=202, **headers)
            request = await webhook(process, f"/{number}")
            assert request.headers.get("tracestate") == passed_on
            assert request.headers["baggage"] == "signal-broker-hops=1"
