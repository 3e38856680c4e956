"""Signals that cause each other come to an end, in whichever dialect they are thrown."""

from __future__ import annotations

import pytest

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import endpoint, fresh_id, recorded, subscribe, throw

HOPS = "Signal-Broker-Hops"
WHY = (
    "This throw comes after 16 deliveries, each of which led to the next throw: these signals cause each other"
    " (Signal-Broker-Hops)."
)

NATIVE = {"type": "about:blank", "title": "Loop Detected", "status": 508, "detail": WHY}
REFUSALS = {
    "/v1/signals": ("name", NATIVE),
    "/v1/signals/batch": ("signals", NATIVE),
    "/engine-rest/signal": ("name", {"type": "RestException", "message": WHY, "code": None}),
    "/engine-rest/message": ("messageName", {"type": "RestException", "message": WHY, "code": None}),
    "/v2/messages/correlation": ("name", {**NATIVE, "instance": "/v2/messages/correlation"}),
    "/v2/signals/broadcast": ("signalName", {**NATIVE, "instance": "/v2/signals/broadcast"}),
}


@pytest.mark.parametrize("path", REFUSALS)
async def test_a_throw_after_too_many_deliveries_is_refused_in_each_dialect_s_form(client, name, path):
    member, expected = REFUSALS[path]
    document = {member: [{"name": name}] if member == "signals" else name}
    for headers in ({HOPS: "16"}, {"baggage": "a=b,signal-broker-hops=16"}):
        status, _, body = await client.request("POST", path, json=document, headers=headers)
        assert (status, body) == (508, expected)
    status, _, _ = await client.request("POST", path, json=document, headers={HOPS: "x"})
    assert status == 400


async def test_a_call_of_an_endpoint_after_too_many_deliveries_is_refused_as_unleash_would(client):
    made, value = await endpoint(client)
    caller, path = client.caller(value), f"/api/signal-endpoint/{made['name']}"
    status, _, body = await caller.request("POST", path, json={}, headers={HOPS: "99"})
    assert (status, body["name"], body["message"]) == (508, "LoopDetectedError", WHY)
    status, _, body = await caller.request("POST", path, json={}, headers={HOPS: "15"})
    signal = body["signals"][0]
    assert (status, (await recorded(client, signal["id"]))["hops"]) == (200, 15)


@pytest.mark.slow
async def test_a_webhook_that_throws_to_its_own_gateway_comes_to_an_end(client, product, name):
    target = {
        "kind": "webhook",
        "url": f"{product.url}/v1/signals/batch",
        "headers": {"Authorization": f"Bearer {ADMIN_TOKEN}", "Baggage": "a=b"},
        "bodyTemplate": '{"signals": [{"name": "{{name}}"}]}',
    }
    subscription = await subscribe(client, name, target=target, retry={"maxAttempts": 1})
    await throw(client, name)

    async def ended():
        page = await client.get(f"/v1/deliveries?state=dead&subscriptionId={subscription['id']}")
        return page["items"]

    [dead] = await eventually(ended)
    [attempt] = (await client.get(f"/v1/deliveries/{dead['id']}"))["attempts"]
    assert (attempt["status"], WHY in attempt["response"]) == (508, True)
    assert attempt["request"]["headers"]["baggage"] == "a=b,signal-broker-hops=16"
    page = await client.get(f"/v1/signals?name={name}&limit=1000")
    assert [signal["hops"] for signal in page["items"]] == list(range(16))


@pytest.mark.slow
async def test_scheduled_and_replayed_signals_keep_their_hops(client, webhooks, name):
    first = await subscribe(client, name, webhooks.url("/first"))
    moment = (await throw(client, fresh_id("clock")))["createdAt"].replace("Z", "+00:00")
    headers = {HOPS: "6", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    document = {"name": name, "deliverAt": moment}
    status, _, signal = await client.request("POST", "/v1/signals", json=document, headers=headers)
    assert (status, signal["hops"]) == (202, 6)
    await eventually(lambda: webhooks.requests)
    second = await subscribe(client, name, webhooks.url("/second"))
    await client.post(f"/v1/subscriptions/{second['id']}/replay", {}, expect=200)
    await eventually(lambda: len(webhooks.requests) == 2)
    assert {request.path: request.headers[HOPS] for request in webhooks.requests} == {"/first": "7", "/second": "7"}
    assert first["id"] != second["id"]
