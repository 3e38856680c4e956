"""Signals for later: nobody gets one before its moment, or after it expired, or once it was cancelled."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from broker.moments import show_moment
from broker.store.postgres.database import Database
from tests.support.eventually import eventually
from tests.support.expiring import expire
from tests.support.moments import check_moments
from tests.support.queues import declare, delete, take
from tests.support.receiver import Answer
from tests.support.throwing import delivery, fresh_id, recorded, subscribe, throw, token


def later(**after):
    return show_moment(datetime.now(UTC) + timedelta(**after))


async def cancel(client, signal_id):
    status, _, problem = await client.request("DELETE", f"/v1/signals/{signal_id}")
    return status, problem and problem["detail"]


@pytest.mark.slow
@pytest.mark.transports("rabbitmq")
async def test_a_scheduled_signal_reaches_subscriptions_and_taps_at_its_moment(client, product_vhost, webhooks, name):
    queue = await declare(product_vhost, f"signals.by-name={name}")
    subscription = await subscribe(client, name, webhooks.url())
    far, moment = later(hours=1), later(seconds=1)
    spec = {"payload": {"a": 1}, "orderingKey": "order 7", "businessKey": "b", "expiresAt": later(hours=2)}
    waits = await throw(client, name, deliverAt=far, **spec)
    signal = await throw(client, name, deliverAt=moment, **spec)
    assert (waits["state"], waits["deliverAt"], waits["orderingKey"]) == ("accepted", far, "order 7")

    assert await recorded(client, waits["id"]) == {**waits, "state": "scheduled"}
    delivered = await delivery(client, signal, subscription, "delivered")
    assert datetime.fromisoformat(delivered["attempts"][0]["startedAt"]) >= datetime.fromisoformat(moment)
    received = json.loads(webhooks.requests[0].body)
    assert received["payload"] == {"a": 1}
    check_moments(received)
    await eventually(lambda: _is(client, signal, "recorded"))
    parked = await delivery(client, waits, subscription, "parked")
    assert (parked["attempts"], parked["reason"]) == ([], "scheduled")
    assert [s["id"] for s in (await client.get(f"/v1/signals?name={name}&state=scheduled"))["items"]] == [waits["id"]]
    [[(routing_key, properties, body)]] = await take(product_vhost, queue)
    assert (routing_key, properties.type, body) == (name, name, b'{"a": 1}')
    assert properties.headers["ce-id"] == str(signal["id"])
    assert properties.headers["ce-time"] == signal["createdAt"]
    assert properties.headers["ce-expirytime"] == signal["expiresAt"]
    assert properties.headers["ordering-key"] == "order 7"
    assert (await client.get(f"/v1/ledger?subscriptionId={subscription['id']}"))["matched"] == 2
    assert await cancel(client, waits["id"]) == (204, b"")
    await delete(product_vhost, queue)


async def let_expire(product, signal):
    async with Database(product.environment["STORE_URL"], size=1) as database:
        await expire(database, int(signal["id"]))


async def _is(client, signal, state):
    return (await client.get(f"/v1/signals/{signal['id']}"))["state"] == state


@pytest.mark.slow
async def test_a_cancelled_signal_reaches_nobody(client, name):
    subscription = await subscribe(client, name, once=True)
    signal = await throw(client, name, deliverAt=later(hours=1))

    assert await cancel(client, signal["id"]) == (204, b"")
    assert await _is(client, signal, "cancelled")
    let_go = await delivery(client, signal, subscription, "cancelled")
    assert let_go["reason"] == "the signal was cancelled"
    assert (await client.get(f"/v1/subscriptions/{subscription['id']}"))["consumedBy"] is None
    status, detail = await cancel(client, signal["id"])
    assert (status, "Only a scheduled signal can be cancelled" in detail) == (409, True)


@pytest.mark.slow
async def test_only_who_could_have_thrown_a_signal_cancels_it(client, name):
    tenant = fresh_id("tenant")
    everybody = await throw(client, name, deliverAt=later(hours=1))
    own = await throw(client, name, deliverAt=later(hours=1), tenantId=tenant)
    for signal in (everybody, own):
        await recorded(client, signal["id"])

    assert (await cancel(client.caller(await token(client, "signals:read")), own["id"]))[0] == 403
    limited = [
        await token(client, "signals:throw", tenants=[fresh_id("tenant")]),
        await token(client, "signals:throw", names=[f"{name}.other"]),
    ]
    for value in limited:
        assert (await cancel(client.caller(value), own["id"]))[0] == 404
    mine = client.caller(await token(client, "signals:throw", tenants=[tenant], names=[name]))
    assert (await cancel(mine, everybody["id"]))[0] == 404
    assert (await cancel(mine, own["id"]))[0] == 204
    status, detail = await cancel(client, 1 << 60)
    assert (status, f"no recorded signal {1 << 60}" in detail) == (404, True)


async def test_a_repeated_throw_for_later_is_one_signal(client, name):
    document = {"name": name, "deliverAt": later(hours=1), "expiresAt": later(hours=2)}
    first, again = [await client.post("/v1/signals", document, expect=202, Idempotency_Key=name) for _ in range(2)]
    assert again == first
    await client.post("/v1/signals", {**document, "deliverAt": later(hours=1)}, expect=409, Idempotency_Key=name)


@pytest.mark.slow
async def test_what_is_still_owed_when_a_signal_expires_is_cancelled(client, product, webhooks, name):
    """Its attempt is under way when the signal expires; there would be another one after it."""
    expired = asyncio.Event()
    subscription = await subscribe(
        client, name, webhooks.answer("/down", Answer(status=500, until=expired)), retry={"schedule": [0.1]}
    )
    signal = await throw(client, name, expiresAt=later(hours=1))
    await eventually(lambda: webhooks.requests)
    await let_expire(product, signal)
    expired.set()

    let_go = await delivery(client, signal, subscription, "cancelled")
    assert (len(let_go["attempts"]), let_go["reason"]) == (1, "expired")
    assert len(webhooks.requests) == 1
    ledger = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")
    assert (ledger["matched"], ledger["deliveries"]["cancelled"], ledger["unaccounted"]) == (1, 1, 0)


@pytest.mark.slow
async def test_what_expires_while_its_subscription_is_paused_is_no_backlog(client, product, name):
    subscription = await subscribe(client, name)
    path = f"/v1/subscriptions/{subscription['id']}"
    await client.post(f"{path}/pause", {}, expect=200)
    signal = await throw(client, name, expiresAt=later(hours=1))
    assert (await delivery(client, signal, subscription, "parked"))["reason"] == "paused"
    await let_expire(product, signal)
    assert (await delivery(client, signal, subscription, "cancelled"))["reason"] == "expired"
    assert (await client.get(path))["backlog"]["parked"] == 0


@pytest.mark.slow
async def test_an_expired_signal_no_longer_holds_up_its_ordering_group(client, product, webhooks, name):
    """Its first attempt failed, and the next one is an hour away."""
    url = webhooks.answer("/line", Answer(status=500), Answer())
    subscription = await subscribe(client, name, url, ordered=True, retry={"schedule": [3600]})
    first = await throw(client, name, orderingKey="k", expiresAt=later(hours=1))
    await delivery(client, first, subscription, "parked")
    second = await throw(client, name, orderingKey="k")
    assert (await delivery(client, second, subscription, "parked"))["reason"] == "ordered"
    await let_expire(product, first)
    await delivery(client, second, subscription, "delivered")
    assert (await delivery(client, first, subscription, "cancelled"))["reason"] == "expired"


@pytest.mark.slow
async def test_what_expired_while_it_was_held_lets_the_next_one_go(client, product, webhooks, name):
    expired = asyncio.Event()
    subscription = await subscribe(client, name, webhooks.answer("/slow", Answer(until=expired)), maxInFlight=1)
    first = await throw(client, name)
    await eventually(lambda: webhooks.requests)
    second = await throw(client, name, expiresAt=later(hours=1))
    assert (await delivery(client, second, subscription, "parked"))["reason"] == "in_flight"
    third = await throw(client, name)
    await delivery(client, third, subscription, "parked")
    await let_expire(product, second)
    expired.set()

    assert (await delivery(client, second, subscription, "cancelled"))["reason"] == "expired"
    for signal in (first, third):
        await delivery(client, signal, subscription, "delivered")
    assert len(webhooks.requests) == 2


async def test_moments_that_make_no_sense_are_refused_with_their_field(client, name):
    refused = {
        "/expiresAt is past already": {"expiresAt": "2020-01-01T00:00:00Z"},
        "/expiresAt must be after deliverAt": {"deliverAt": later(hours=2), "expiresAt": later(hours=1)},
        "/deliverAt is more than 366 days ahead": {"deliverAt": later(days=400)},
        "/expiresAt is more than 366 days ahead": {"expiresAt": "9999-12-31T23:59:59.9999Z"},
        "/deliverAt must be a date and time with its offset (RFC 3339), like 2026-11-22T10:00:00Z": {
            "deliverAt": "2026-11-22T10:00:00"
        },
        "/orderingKey String should have at least 1 character": {"orderingKey": ""},
    }
    for expected, spec in refused.items():
        problem = await client.post("/v1/signals", {"name": name, **spec}, expect=400)
        assert [f"{error['pointer']} {error['detail']}" for error in problem["errors"]] == [expected]
    status, _, problem = await client.request("GET", "/v1/signals?state=accepted")
    assert (status, problem["errors"][0]["pointer"]) == (400, "?state")
