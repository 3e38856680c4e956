"""Deliveries as receivers and operators see them."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import pytest
from standardwebhooks import Webhook

from broker.topology import Queue, Topology, is_of_app
from tests.support.eventually import eventually
from tests.support.messaging import drain, publish, take
from tests.support.receiver import Answer
from tests.support.throwing import FAR, delivery, fresh_id, subscribe, throw, token

pytestmark = pytest.mark.transports("embedded", "rabbitmq")

AT_ONCE = {"schedule": [0, 0]}


@pytest.mark.slow
async def test_a_webhook_receives_the_signal_as_documented_and_signed(client, webhooks, name):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"X-Team": "claims"}
    target = {"kind": "webhook", "url": webhooks.url("/hook"), "headers": headers}
    subscription = await client.post("/v1/subscriptions", {"name": name, "target": target, "tenantId": "acme"})
    signal = await client.post(
        "/v1/signals", {"name": name, "tenantId": "acme", "payload": {"policy": 42}}, traceparent=trace
    )

    [request] = await eventually(lambda: webhooks.requests)

    delivery_id = f"{signal['id']}-{subscription['id']}"
    assert Webhook(subscription["secret"]).verify(request.body, dict(request.headers)) == json.loads(request.body)
    assert request.headers["webhook-id"] == delivery_id
    assert request.headers["content-type"] == "application/json"
    assert request.headers["traceparent"] == trace
    assert request.headers["X-Team"] == "claims"
    assert json.loads(request.body) == {
        "id": signal["id"],
        "name": name,
        "scope": "tenant",
        "tenantId": "acme",
        "executionId": None,
        "createdAt": signal["createdAt"],
        "businessKey": None,
        "payload": {"policy": 42},
        "variables": {"policy": {"value": 42, "type": "Integer", "valueInfo": {}}},
        "deliveryId": delivery_id,
        "attempt": 1,
        "subscriptionId": subscription["id"],
    }


@pytest.mark.slow
async def test_the_payload_arrives_byte_for_byte_as_it_was_sent(client, webhooks, name):
    payload = b'{ "a":1.0,"b" : 1e2, "twice":1,"twice":2, "long": 12345678901234567890123 , "\\ud800": "\\u0000" }'
    await subscribe(client, name, webhooks.url("/hook"))

    body = b'{"name":"%b", "payload": %b}' % (name.encode(), payload)
    status, _, _ = await client.request("POST", "/v1/signals", data=body, headers={"Content-Type": "application/json"})

    assert status == 202
    [request] = await eventually(lambda: webhooks.requests)
    assert payload in request.body


@pytest.mark.slow
async def test_a_failed_attempt_is_parked_and_made_again_when_it_is_due(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500, body=b"out of order"), Answer())
    subscription = await subscribe(client, name, url, retry={"schedule": [0.5]})
    signal = await throw(client, name)

    done = await delivery(client, signal, subscription, "delivered")

    first, second = done["attempts"]
    assert (first["number"], first["outcome"], first["status"], first["response"]) == (
        1,
        "refused",
        500,
        "out of order",
    )
    assert (second["number"], second["outcome"], second["status"]) == (2, "succeeded", 200)
    assert [json.loads(request.body)["attempt"] for request in webhooks.requests] == [1, 2]
    assert len({request.headers["webhook-id"] for request in webhooks.requests}) == 1


async def test_a_delivery_is_parked_until_its_next_attempt(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.answer("/hook", Answer(status=500)), retry=FAR)
    signal = await throw(client, name)

    parked = await delivery(client, signal, subscription, "parked")

    assert parked["dueAt"] is not None
    assert parked["finishedAt"] is None
    page = await client.get(f"/v1/deliveries?state=parked&subscriptionId={subscription['id']}")
    assert [owed["id"] for owed in page["items"]] == [parked["id"]]


@pytest.mark.slow
async def test_a_delivery_is_dead_after_its_last_attempt_and_can_be_redriven(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500), Answer(status=404), Answer(status=302), Answer())
    subscription = await subscribe(client, name, url, retry=AT_ONCE)
    signal = await throw(client, name)
    dead = await delivery(client, signal, subscription, "dead")
    assert [attempt["status"] for attempt in dead["attempts"]] == [500, 404, 302]

    redriven = await client.post(f"/v1/deliveries/{dead['id']}/redrive", {}, expect=200)

    assert redriven["state"] != "dead"
    again = await delivery(client, signal, subscription, "delivered")
    assert [attempt["number"] for attempt in again["attempts"]] == [1, 2, 3, 4]


async def test_what_was_delivered_is_delivered_once_more_under_the_same_id(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url("/hook"))
    signal = await throw(client, name)
    done = await delivery(client, signal, subscription, "delivered")
    await client.post(f"/v1/deliveries/{done['id']}/redrive", {}, expect=200)
    await eventually(lambda: len(webhooks.requests) == 2)
    again = await delivery(client, signal, subscription, "delivered")
    assert [attempt["number"] for attempt in again["attempts"]] == [1, 2]
    first, second = webhooks.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [json.loads(request.body)["attempt"] for request in (first, second)] == [1, 2]
    books = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")
    assert (books["matched"], books["deliveries"]["delivered"], books["unaccounted"]) == (1, 1, 0)


@pytest.mark.slow
async def test_what_is_parked_goes_now_instead_of_later_and_its_schedule_goes_on(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500), Answer(status=500), Answer())
    subscription = await subscribe(client, name, url, retry={"schedule": [3600, 0]})
    signal = await throw(client, name)
    parked = await delivery(client, signal, subscription, "parked")
    await client.post(f"/v1/deliveries/{parked['id']}/redrive", {}, expect=200)
    done = await delivery(client, signal, subscription, "delivered")
    assert [attempt["status"] for attempt in done["attempts"]] == [500, 500, 200]


async def test_what_is_being_attempted_cannot_be_redriven(client, webhooks, name):
    released = asyncio.Event()
    url = webhooks.answer("/hook", Answer(until=released))
    subscription = await subscribe(client, name, url)
    signal = await throw(client, name)
    await eventually(lambda: len(webhooks.requests) == 1)
    problem = await client.post(f"/v1/deliveries/{signal['id']}-{subscription['id']}/redrive", {}, expect=409)
    assert problem["detail"] == "It is being attempted, or is about to be."
    released.set()
    await delivery(client, signal, subscription, "delivered")


@pytest.mark.slow
async def test_a_receiver_that_asks_for_a_pause_gets_it(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=503, headers={"Retry-After": "1"}), Answer())
    subscription = await subscribe(client, name, url, retry={"schedule": [0]})
    signal = await throw(client, name)

    done = await delivery(client, signal, subscription, "delivered")

    first, second = (datetime.fromisoformat(attempt["startedAt"]) for attempt in done["attempts"])
    assert done["attempts"][0]["outcome"] == "throttled"
    assert second - first >= timedelta(seconds=1)


@pytest.mark.slow
async def test_a_receiver_that_is_gone_is_not_asked_again(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.answer("/hook", Answer(status=410)), retry=AT_ONCE)
    signal = await throw(client, name)

    dead = await delivery(client, signal, subscription, "dead")

    assert [attempt["outcome"] for attempt in dead["attempts"]] == ["gone"]
    assert len(webhooks.requests) == 1


async def test_a_queue_target_receives_the_signal(client, product, name):
    async with product.open_transport() as transport:
        await transport.declare(Topology((), (Queue(name),), ()))
        spec = {"name": name, "target": {"kind": "queue", "queue": name}}
        subscription = await client.post("/v1/subscriptions", spec)
        assert subscription["secret"] is None
        signal = await throw(client, name, payload=[1, {"a": None}])

        async with transport.consume(name, prefetch=10) as inbox:
            [message] = await take(inbox, 1)

    assert message.body == b'[1, {"a": null}]'
    assert message.type == name
    assert message.headers["signal-id"] == signal["id"]
    assert message.headers["ce-id"] == str(signal["id"])
    assert message.headers["ce-type"] == name
    assert message.headers["delivery-id"] == f"{signal['id']}-{subscription['id']}"
    assert message.headers["attempt"] == 1
    assert message.headers["scope"] == "broadcast"


async def test_a_queue_that_does_not_exist_is_a_failed_attempt(client, name):
    spec = {"name": name, "target": {"kind": "queue", "queue": f"{name}.absent"}, "retry": {"maxAttempts": 1}}
    subscription = await client.post("/v1/subscriptions", spec)
    signal = await throw(client, name)

    dead = await delivery(client, signal, subscription, "dead")

    assert [attempt["outcome"] for attempt in dead["attempts"]] == ["unroutable"]


@pytest.mark.slow
async def test_deliveries_are_listed_page_by_page(client, webhooks, name):
    made = [await subscribe(client, name, webhooks.url("/hook")) for _ in range(3)]
    signal = await throw(client, name)
    await delivery(client, signal, made[2], "delivered")

    first = await client.get(f"/v1/deliveries?signalId={signal['id']}&limit=2")
    rest = await client.get(f"/v1/deliveries?signalId={signal['id']}&limit=2&afterId={first['next']}")

    found = [owed["subscriptionId"] for owed in first["items"] + rest["items"]]
    assert found == [subscription["id"] for subscription in made]
    assert rest["next"] is None


@pytest.mark.slow
async def test_the_ledger_of_a_subscription_balances(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url("/hook"))
    for _ in range(3):
        await delivery(client, await throw(client, name), subscription, "delivered")

    ledger = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")

    assert ledger["matched"] == 3
    assert ledger["deliveries"] == {"pending": 0, "parked": 0, "delivered": 3, "dead": 0, "cancelled": 0}
    assert ledger["unaccounted"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("permission", "statuses"), [("signals:read", (200, 403)), ("deliveries:manage", (403, 200))])
async def test_looking_and_redriving_are_two_permissions(client, webhooks, name, permission, statuses):
    subscription = await subscribe(client, name, webhooks.url("/hook"))
    done = await delivery(client, await throw(client, name), subscription, "delivered")
    caller = client.caller(await token(client, permission))

    shown, _, _ = await caller.request("GET", f"/v1/deliveries/{done['id']}")
    redriven, _, _ = await caller.request("POST", f"/v1/deliveries/{done['id']}/redrive")

    assert (shown, redriven) == statuses


async def test_deliveries_of_another_tenant_are_not_there(client, webhooks, name):
    tenant = fresh_id("globex")
    subscription = await subscribe(client, name, webhooks.url("/hook"), tenantId=tenant)
    done = await delivery(client, await throw(client, name, tenantId=tenant), subscription, "delivered")
    caller = client.caller(await token(client, "signals:read", "deliveries:manage", tenants=["acme"]))

    assert (await caller.request("GET", f"/v1/deliveries/{done['id']}"))[0] == 404
    assert (await caller.request("POST", f"/v1/deliveries/{done['id']}/redrive"))[0] == 404
    assert (await caller.get(f"/v1/deliveries?subscriptionId={subscription['id']}"))["items"] == []


async def test_the_ledger_is_of_the_callers_tenants(client, webhooks, name):
    mine, others = fresh_id("tenant"), fresh_id("tenant")
    caller = client.caller(await token(client, "signals:read", tenants=[mine]))
    before = await caller.get("/v1/ledger")
    made = [await subscribe(client, name, webhooks.url(), tenantId=tenant) for tenant in (mine, others)]
    signal = await throw(client, name)
    for subscription in made:
        await delivery(client, signal, subscription, "delivered")
    assert (await caller.get("/v1/ledger"))["matched"] == before["matched"] + 1
    assert (await caller.get(f"/v1/ledger?subscriptionId={made[0]['id']}"))["matched"] == 1
    for unknown in (made[1]["id"], 987654321):
        status, _, problem = await caller.request("GET", f"/v1/ledger?subscriptionId={unknown}")
        assert (status, problem["detail"]) == (404, f"There is no subscription {unknown}.")


async def test_the_ledger_counts_the_messages_of_each_dead_queue(client, product):
    async with product.open_transport() as transport:
        await publish(transport, b"garbage", key="signals.record")
        books = await eventually(lambda: poisoned(client))
        assert (books["poisonedSignals"], books["lost"], books["unaccounted"]) == (0, 0, 0)
        assert {queue: count for queue, count in books["poison"].items() if not is_of_app(queue)} == {
            "signals.record.dead": 1,
            "deliveries.attempt.dead": 0,
            "deliveries.attempt.slow.dead": 0,
        }
        await drain(transport, "signals.record.dead", 1)


async def poisoned(client):
    books = await client.get("/v1/ledger")
    # The recorder reports what it holds only every second.
    return books if books["poison"]["signals.record.dead"] and not books["awaitingRecord"] else None
