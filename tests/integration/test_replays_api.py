"""Replaying, as operators do it."""

from __future__ import annotations

import json

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import NOWHERE, delivery, fresh_id, recorded, subscribe, throw, token


@pytest.fixture
def past(client, name):
    """Call it to throw so many signals, all of them recorded."""

    async def past(count, **spec):
        signals = [await throw(client, name, payload={"number": number}, **spec) for number in range(count)]
        for signal in signals:
            await recorded(client, signal["id"])
        return signals

    return past


async def replay(client, subscription, expect=200, **wanted):
    return await client.post(f"/v1/subscriptions/{subscription['id']}/replay", wanted, expect=expect)


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_new_subscription_gets_exactly_the_window_and_gets_it_once(client, webhooks, name, past):
    await past(1)
    window = await past(3)
    (after,) = await past(1)
    since, until = window[0]["createdAt"], after["createdAt"]
    late = await subscribe(client, name, webhooks.url("/hook"))

    assert await replay(client, late, since=since, until=until, dryRun=True) == {"count": 3, "next": None}
    assert webhooks.requests == []
    assert await replay(client, late, since=since, until=until) == {"count": 3, "next": None}
    assert await replay(client, late, since=since, until=until) == {"count": 0, "next": None}

    for signal in window:
        done = await delivery(client, signal, late, "delivered")
        assert [attempt["number"] for attempt in done["attempts"]] == [1]
    got = [json.loads(request.body) for request in webhooks.requests]
    assert sorted(one["id"] for one in got) == [signal["id"] for signal in window]
    assert {one["payload"]["number"] for one in got} == {0, 1, 2}
    books = await client.get(f"/v1/ledger?subscriptionId={late['id']}")
    assert (books["matched"], books["deliveries"]["delivered"], books["unaccounted"]) == (3, 3, 0)
    page = await client.get("/v1/audit?type=signals-replayed&limit=1000")
    assert [event["principal"] for event in page["items"] if event["subjectId"] == late["id"]] == ["admin"] * 2


@pytest.mark.slow
async def test_a_paused_subscription_is_owed_what_is_replayed_and_gets_it_when_it_is_resumed(
    client, webhooks, name, past
):
    (signal,) = await past(1)
    late = await subscribe(client, name, webhooks.url("/hook"))
    await client.post(f"/v1/subscriptions/{late['id']}/pause", {}, expect=200)
    assert (await replay(client, late))["count"] == 1

    path = f"/v1/deliveries/{signal['id']}-{late['id']}"
    await eventually(lambda: is_held(client, path))
    assert webhooks.requests == []
    await client.post(f"/v1/subscriptions/{late['id']}/resume", {}, expect=200)
    await delivery(client, signal, late, "delivered")


async def is_held(client, path):
    return (await client.get(path))["reason"] == "paused"


@pytest.mark.slow
async def test_a_subscription_that_is_consumed_disabled_or_gone_is_not_replayed_to(client, name, past, product):
    await past(2)
    consumed = await subscribe(client, name, once=True)
    assert (await replay(client, consumed))["count"] == 1
    problem = await replay(client, consumed, expect=409)
    assert problem["detail"] == "Nothing is replayed: the subscription was consumed already."
    await client.post("/v1/subscriptions/0/replay", {}, expect=404)
    deleted = await subscribe(client, name)
    await client.request("DELETE", f"/v1/subscriptions/{deleted['id']}")
    await replay(client, deleted, expect=404)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"outcome": "refused"}, "/outcome"),
        ({"name": "a\x00"}, "/name"),
        ({"since": "2026-11-25"}, "/since"),
        ({"perSecond": 1e9}, "/perSecond"),
        ({"after": "17-1"}, "/after"),
        ({"after": "-1"}, "/after"),
        ({"after": "9" * 19}, "/after"),
        ({"after": "7" * 200}, "/after"),
    ],
)
async def test_what_cannot_be_meant_is_refused(client, name, document, pointer):
    late = await subscribe(client, name)
    problem = await replay(client, late, expect=400, **document)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.slow
async def test_a_caller_replays_what_it_may_read_and_no_more(client, name, past):
    tenant, other = fresh_id("tenant"), fresh_id("tenant")
    (ours,), _, (everybodys,) = await past(1, tenantId=tenant), await past(1, tenantId=other), await past(1)
    target = {"kind": "webhook", "url": NOWHERE}
    mine = await client.post("/v1/subscriptions", {"name": "test.#", "target": target, "tenantId": tenant})
    limits = {"names": [name, "test.#"], "tenants": [tenant]}
    blind = client.caller(await token(client, "subscriptions:manage", **limits))
    await replay(blind, mine, expect=403)
    stranger = client.caller(await token(client, "subscriptions:manage", "signals:read", tenants=[other]))
    await replay(stranger, mine, expect=404)
    reader = await token(client, "subscriptions:manage", "signals:read", **limits)
    await replay(client.caller(reader), mine, expect=403, name="unheard")
    assert (await replay(client.caller(reader), mine, name=name))["count"] == 2
    page = await client.get(f"/v1/deliveries?subscriptionId={mine['id']}&name={name}")
    assert {item["signalId"] for item in page["items"]} == {ours["id"], everybodys["id"]}
    status, _, _ = await client.request("DELETE", f"/v1/subscriptions/{mine['id']}")
    assert status == 204


@pytest.mark.slow
async def test_next_goes_on_after_the_signal_that_it_names(client, name, past):
    (first,), others = await past(1), await past(2)
    second, third = sorted(others, key=lambda signal: signal["id"])
    late = await subscribe(client, name)
    assert (await replay(client, late, after=str(first["id"]), perSecond=1000))["count"] == 2
    page = await client.get(f"/v1/deliveries?subscriptionId={late['id']}")
    assert [item["signalId"] for item in page["items"]] == [second["id"], third["id"]]
