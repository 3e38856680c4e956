"""Events end to end: what operators are told of, by webhooks of subscriptions to names that begin with ``$broker``."""

from __future__ import annotations

import json

import pytest

from broker.topology import RECORD, dead_letters
from broker.transport import Settlement
from tests.support.eventually import eventually
from tests.support.messaging import publish, take
from tests.support.receiver import Answer
from tests.support.throwing import FAR, NOWHERE, fresh_id, subscribe, throw, token

pytestmark = pytest.mark.transports("embedded", "rabbitmq")


@pytest.fixture
async def ask_for(client, webhooks):
    """Call it to subscribe to events until the test ends: others would mind the signals."""
    made = []

    async def ask(name, path, **spec):
        subscription = await subscribe(client, name, webhooks.url(path), **spec)
        made.append(subscription["id"])
        return subscription

    yield ask
    for subscription_id in made:
        await client.request("DELETE", f"/v1/subscriptions/{subscription_id}")


@pytest.fixture
async def told(ask_for, webhooks):
    """Call it with a subscription and the type of an event to get the signal that told it, once it came."""
    await ask_for("$broker.#", "/events")

    async def wait(subscription, kind, **details):
        def get():
            bodies = [json.loads(request.body) for request in webhooks.requests if request.path == "/events"]
            wanted = subscription and subscription["id"]
            return [
                one
                for one in bodies
                if one["name"] == kind
                and one["payload"]["subscriptionId"] == wanted
                and one["payload"]["details"].items() >= details.items()
            ]

        found = await eventually(get, within=30)
        return found[0]

    return wait


@pytest.mark.slow
async def test_a_disabled_subscription_is_told(client, webhooks, name, told):
    gone = await subscribe(client, name, webhooks.answer("/gone", Answer(status=410)))
    await throw(client, name)

    signal = await told(gone, "$broker.subscription.disabled")

    payload = signal["payload"]
    assert payload == {
        "eventId": payload["eventId"],
        "since": payload["since"],
        "at": payload["at"],
        "count": 1,
        "subscriptionId": gone["id"],
        "subscriptionName": name,
        "tenantId": None,
        "details": {"reason": "the target answered 410"},
    }
    assert (signal["scope"], signal["tenantId"]) == ("untenanted", None)
    page = await client.get(f"/v1/signals/{signal['id']}")
    assert page["state"] == "recorded"


@pytest.mark.slow
async def test_a_circuit_that_opens_and_closes_is_told_and_so_is_its_target(client, webhooks, name, told):
    busy = Answer(status=503, headers={"Retry-After": "1"})
    target = await subscribe(client, name, webhooks.answer("/busy", busy, Answer()), retry={"schedule": [0.1, 0.1]})
    await throw(client, name)

    for kind in ("target.failed", "circuit.opened", "circuit.closed", "target.recovered"):
        signal = await told(target, f"$broker.{kind}")
        assert signal["payload"]["details"] == {"host": "127.0.0.1"}


@pytest.mark.slow
async def test_a_dead_delivery_is_told(client, webhooks, name, told):
    refusing = await subscribe(
        client, name, webhooks.answer("/no", Answer(status=400)), retry={"schedule": [], "maxAttempts": 1}
    )
    signal = await throw(client, name)

    event = (await told(refusing, "$broker.delivery.dead"))["payload"]

    assert (event["count"], event["subscriptionId"]) == (1, refusing["id"])
    assert event["details"] == {
        "deliveryId": f"{signal['id']}-{refusing['id']}",
        "reason": "the last attempt failed: HTTP 400 Bad Request",
        "attempts": 1,
        "status": 400,
    }


@pytest.mark.slow
async def test_a_quota_that_is_reached_is_told(client, name, told):
    tenant = fresh_id("tenant")
    limited = client.caller(await token(client, "signals:throw", tenants=[tenant]))
    await client.request("PUT", f"/v1/quotas/tenants/{tenant}", json={"payloadBytesPerDay": 0})

    async def is_refused():
        return (await limited.request("POST", "/v1/signals", json={"name": name}))[0] == 429

    await eventually(is_refused)

    event = (await told(None, "$broker.quota.reached", id=tenant))["payload"]
    assert event["details"] == {"kind": "tenant", "id": tenant, "quota": "payloadBytesPerDay"}
    assert (event["tenantId"], event["subscriptionName"]) == (tenant, None)
    assert event["count"] >= 1

    await client.request("PUT", f"/v1/quotas/tenants/{tenant}", json={"subscriptions": 0})
    document = {"name": name, "tenantId": tenant, "target": {"kind": "webhook", "url": NOWHERE}}
    assert (await client.request("POST", "/v1/subscriptions", json=document))[0] == 429
    await told(None, "$broker.quota.reached", id=tenant, quota="subscriptions")


@pytest.mark.slow
async def test_poison_is_told(product, told):
    async with product.open_transport() as transport:
        await publish(transport, b"no signal", key=RECORD)

    event = (await told(None, "$broker.message.poisoned"))["payload"]

    assert event["details"] == {"queue": "signals.record.dead", "messages": event["details"]["messages"]}
    async with product.open_transport() as transport, transport.consume(dead_letters(RECORD), prefetch=10) as inbox:
        await inbox.settle(await take(inbox, 1), Settlement.ACK)


@pytest.mark.slow
async def test_events_are_listed_and_shown_on_the_command_line(client, webhooks, name, laptop, told):
    gone = await subscribe(client, name, webhooks.answer("/gone", Answer(status=410)))
    await throw(client, name)
    signal = await told(gone, "$broker.subscription.disabled")

    query = f"subscriptionId={gone['id']}&type=$broker.subscription.disabled"
    page = await client.get(f"/v1/events?{query}")
    (event,) = page["items"]
    payload = signal["payload"]
    assert event == {
        **{key: value for key, value in payload.items() if key != "eventId"},
        "id": payload["eventId"],
        "type": "$broker.subscription.disabled",
        "signalId": signal["id"],
    }
    shown = await laptop.ask("events", "--subscription", str(gone["id"]), "--type", event["type"])
    assert shown == [event]
    assert (await client.get(f"/v1/events?{query}&afterId={event['id']}")) == {"items": [], "next": None}
    for wrong in ("type=circuit", "since=yesterday", "kind=x", "limit=0"):
        status, _, problem = await client.request("GET", f"/v1/events?{wrong}")
        assert (status, problem["errors"][0]["pointer"]) == (400, "?" + wrong.partition("=")[0])


@pytest.mark.slow
async def test_an_event_of_a_tenant_s_subscription_is_for_that_tenant_and_for_operators(
    client, webhooks, name, told, ask_for
):
    acme, globex = fresh_id("acme"), fresh_id("globex")
    await ask_for("$broker.#", "/acme", tenantId=acme)
    await ask_for("$broker.#", "/globex", tenantId=globex)
    target = webhooks.answer("/gone", Answer(status=410))
    others = await subscribe(client, name, target, tenantId=globex)
    own = await subscribe(client, name, target, tenantId=acme)
    await throw(client, name, tenantId=globex)
    await throw(client, name, tenantId=acme)

    signals = [await told(one, "$broker.subscription.disabled") for one in (others, own)]

    assert [signal["payload"]["tenantId"] for signal in signals] == [globex, acme]

    def received(path):
        bodies = [json.loads(request.body)["payload"] for request in webhooks.requests if request.path == path]
        return {one["subscriptionId"] for one in bodies}

    await eventually(lambda: received("/acme") and received("/globex"))
    assert (received("/acme"), received("/globex")) == ({own["id"]}, {others["id"]})


@pytest.mark.slow
async def test_what_becomes_of_events_leads_to_no_events(client, webhooks, name, told, ask_for):
    webhooks.answer("/gone", Answer(status=410))
    broken = await ask_for("$broker.subscription.*", "/gone")
    first = await subscribe(client, name, webhooks.url("/gone"), retry=FAR)
    await throw(client, name)
    await told(first, "$broker.subscription.disabled")

    async def is_disabled():
        return (await client.get(f"/v1/subscriptions/{broken['id']}"))["state"] == "disabled"

    await eventually(is_disabled)
    second = await subscribe(client, name, webhooks.url("/gone"), retry=FAR)
    await throw(client, name)
    await told(second, "$broker.subscription.disabled")  # what came before it is told by now

    bodies = [json.loads(request.body) for request in webhooks.requests if request.path == "/events"]
    assert broken["id"] not in {one["payload"]["subscriptionId"] for one in bodies}
