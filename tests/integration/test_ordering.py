"""Ordered subscriptions over HTTP: what they can be, and that signals of a key come one after the other."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.receiver import Answer
from tests.support.throwing import NOWHERE, delivery, recorded, subscribe, throw
from tests.support.waiting import throw_one_by_one, throw_recorded

FAST = {"schedule": [0.02] * 20}


def came(webhooks, path):
    """Return the payloads that came to *path*, in their order."""
    return [json.loads(request.body)["payload"] for request in webhooks.requests if request.path == path]


@pytest.mark.parametrize(("given", "shown"), [({}, "block"), ({"headOfLine": "skip"}, "skip")])
async def test_an_ordered_subscription_says_so(client, name, given, shown):
    created = await subscribe(client, name, ordered=True, **given)
    assert (created["ordered"], created["headOfLine"]) == (True, shown)


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"headOfLine": "skip"}, "/headOfLine"),
        ({"ordered": True, "headOfLine": "wait"}, "/headOfLine"),
        ({"ordered": True, "once": True}, "/ordered"),
        ({"ordered": "yes"}, "/ordered"),
    ],
)
async def test_what_makes_no_sense_is_refused(client, name, spec, pointer):
    document = {"name": name, "target": {"kind": "webhook", "url": NOWHERE}, **spec}
    problem = await client.post("/v1/subscriptions", document, expect=400)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_signals_of_a_key_come_in_their_order_though_some_fail(client, webhooks, name):
    bad = Answer(status=500)
    await subscribe(client, name, webhooks.answer("/a", bad, bad, Answer(), bad, Answer()), ordered=True, retry=FAST)
    for number in range(6):
        await throw(client, name, payload=number, orderingKey="a")
    await eventually(lambda: len(came(webhooks, "/a")) == 9)
    assert came(webhooks, "/a") == [0, 0, 0, 1, 1, 2, 3, 4, 5]
    assert webhooks.most["/a"] == 1


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_keys_are_delivered_side_by_side(client, webhooks, name):
    all_thrown = asyncio.Event()
    url = webhooks.answer("/slow", Answer(until=all_thrown))
    await subscribe(client, name, url, ordered=True)
    for key in ("a", "b", "c", "d") * 2:
        await throw_recorded(client, name, payload=key, orderingKey=key)
    await eventually(lambda: len(came(webhooks, "/slow")) == 4)
    assert sorted(came(webhooks, "/slow")) == ["a", "b", "c", "d"]
    all_thrown.set()
    await eventually(lambda: len(came(webhooks, "/slow")) == 8)
    assert webhooks.most["/slow"] == 4


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_behind_a_dead_delivery_the_line_waits_until_it_is_redriven(client, webhooks, name):
    url = webhooks.answer("/dead", Answer(status=500), Answer())
    subscription = await subscribe(client, name, url, ordered=True, retry={"maxAttempts": 1})
    first, second = [await throw(client, name, payload=number, orderingKey="a") for number in range(2)]
    await delivery(client, first, subscription, "dead")
    waiting = await delivery(client, second, subscription, "parked")
    assert (waiting["reason"], waiting["dueAt"]) == ("ordered", None)
    await client.post(f"/v1/deliveries/{first['id']}-{subscription['id']}/redrive", None)
    await delivery(client, second, subscription, "delivered")
    assert came(webhooks, "/dead") == [0, 0, 1]


@pytest.mark.slow
async def test_behind_a_dead_delivery_the_line_goes_on_once_that_is_cancelled_by_hand(client, webhooks, name):
    url = webhooks.answer("/cancelled", Answer(status=500), Answer())
    subscription = await subscribe(client, name, url, ordered=True, retry={"maxAttempts": 1})
    first, second = [await throw(client, name, payload=number, orderingKey="a") for number in range(2)]
    await delivery(client, first, subscription, "dead")
    await client.post(f"/v1/deliveries/{first['id']}-{subscription['id']}/cancel", None)
    await delivery(client, second, subscription, "delivered")
    assert came(webhooks, "/cancelled") == [0, 1]


@pytest.mark.slow
async def test_behind_a_dead_delivery_the_line_goes_on_if_it_is_to_be_skipped(client, webhooks, name):
    url = webhooks.answer("/skipped", Answer(status=500), Answer())
    subscription = await subscribe(client, name, url, ordered=True, headOfLine="skip", retry={"maxAttempts": 1})
    first, second = [await throw(client, name, payload=number, orderingKey="a") for number in range(2)]
    await delivery(client, second, subscription, "delivered")
    await delivery(client, first, subscription, "dead")


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_paused_subscription_keeps_its_order(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url("/paused"), ordered=True)
    await client.post(f"/v1/subscriptions/{subscription['id']}/pause", {})
    signals = [await throw(client, name, payload=number, orderingKey="a") for number in range(5)]
    for signal in signals:
        await recorded(client, signal["id"])
    await client.post(f"/v1/subscriptions/{subscription['id']}/resume", {})
    await delivery(client, signals[-1], subscription, "delivered")
    assert came(webhooks, "/paused") == [0, 1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_limits_hold_for_lines_too(client, webhooks, name):
    url = webhooks.answer("/limited", *[Answer(after=0.05)] * 12)
    subscription = await subscribe(client, name, url, ordered=True, maxInFlight=2)
    for number in range(12):
        await throw(client, name, payload=number, orderingKey=f"key-{number % 4}")
    await eventually(lambda: len(came(webhooks, "/limited")) == 12)
    assert webhooks.most["/limited"] <= 2
    for key in range(4):
        assert [number for number in came(webhooks, "/limited") if number % 4 == key] == [key, key + 4, key + 8]
    ledger = await eventually(lambda: delivered(client, subscription, 12))
    assert ledger["unaccounted"] == 0


async def delivered(client, subscription, count):
    ledger = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")
    return ledger if ledger["deliveries"]["delivered"] == count else None


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_batch_is_in_the_order_of_its_items(client, webhooks, name):
    await subscribe(client, name, webhooks.url("/batch"), ordered=True)
    items = [{"name": name, "payload": number, "orderingKey": "a"} for number in range(50)]
    await client.post("/v1/signals/batch", {"signals": items}, expect=200)
    await eventually(lambda: len(came(webhooks, "/batch")) == 50)
    assert came(webhooks, "/batch") == list(range(50))


@pytest.mark.slow
async def test_the_policy_of_an_ordered_subscription_can_be_changed_and_lets_a_line_go_on(client, webhooks, name):
    url = webhooks.answer("/stuck", Answer(status=500), Answer())
    subscription = await subscribe(client, name, url, ordered=True, retry={"maxAttempts": 1})
    first, second = [await throw(client, name, payload=number, orderingKey="a") for number in range(2)]
    await delivery(client, first, subscription, "dead")
    path = f"/v1/subscriptions/{subscription['id']}"
    status, _, body = await client.request("PATCH", path, json={"headOfLine": "skip"})
    assert (status, body["headOfLine"]) == (200, "skip")
    await delivery(client, second, subscription, "delivered")
    status, _, problem = await client.request("PATCH", path, json={"ordered": False})
    assert (status, problem["errors"][0]["pointer"]) == (400, "/ordered")


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_what_is_replayed_comes_in_its_order_and_before_what_comes_by_itself(client, webhooks, name):
    await throw_one_by_one(client, name, 3, orderingKey="a")
    subscription = await subscribe(client, name, webhooks.url("/replayed"), ordered=True)
    path = f"/v1/subscriptions/{subscription['id']}"
    await client.post(f"{path}/pause", {})
    last = await throw(client, name, payload=3, orderingKey="a")
    await delivery(client, last, subscription, "parked")
    latest = await throw_recorded(client, name, payload=4, orderingKey="a")
    assert (await client.post(f"{path}/replay", {}, expect=200))["count"] == 3
    await client.post(f"{path}/resume", {})
    await delivery(client, latest, subscription, "delivered")
    assert came(webhooks, "/replayed") == [3, 0, 1, 2, 4], "the first one had been its line's head already"


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_bulk_redriven_deliveries_go_by_their_lines(client, webhooks, name):
    url = webhooks.answer("/bulk", *[Answer(status=500)] * 3, Answer(after=0.05))
    subscription = await subscribe(client, name, url, ordered=True, headOfLine="skip", retry={"maxAttempts": 1})
    thrown = [await throw(client, name, payload=number, orderingKey="a") for number in range(3)]
    for signal in thrown:
        await delivery(client, signal, subscription, "dead")
    answer = await client.post("/v1/deliveries/redrive", {"subscriptionId": subscription["id"]}, expect=200)
    assert answer["count"] == 3
    for signal in thrown:
        await delivery(client, signal, subscription, "delivered")
    assert came(webhooks, "/bulk") == [0, 1, 2, 0, 1, 2]
    assert webhooks.most["/bulk"] == 1


@pytest.mark.slow
async def test_what_has_a_key_is_expected_by_the_time_its_throw_is_answered(database, database_url, tmp_path):
    """No recorder runs, so whoever is thrown next, and recorded by another one, would know that it has to wait."""
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path)}
    async with Process("gateway", environment=environment, log=tmp_path / "log") as gateway:
        async with client_of(gateway.url) as client:
            await subscribe(client, "order.paid", ordered=True)
            first, second = [await throw(client, "order.paid", orderingKey=key) for key in ("a", "b")]
            await throw(client, "order.paid")
            await throw(
                client, "order.paid", orderingKey="a", deliverAt=f"{datetime.now(UTC) + timedelta(days=1):%FT%TZ}"
            )
        rows = await database.fetch("SELECT signal_id, ordering_key FROM expected_signals ORDER BY signal_id")
    assert [tuple(row) for row in rows] == [(first["id"], "a"), (second["id"], "b")]
