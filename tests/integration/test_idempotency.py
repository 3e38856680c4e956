"""``Idempotency-Key``: repeating a throw is safe, whatever happened to the first."""

from __future__ import annotations

import asyncio

import pytest

from broker.store.postgres.database import Database
from tests.support.product import client_of
from tests.support.throwing import endpoint, matched, recorded, recorded_ids, subscribe, throw, token
from tests.support.waiting import throw_recorded

SAME_NUMBERS = """
SELECT setval('tokens_id_seq', next), setval('endpoint_tokens_id_seq', next)
FROM (SELECT greatest((SELECT max(id) FROM tokens), (SELECT max(id) FROM endpoint_tokens)) AS next) AS ids
"""

pytestmark = pytest.mark.transports("embedded", "rabbitmq")


async def keyed(client, name, key, **spec):
    return await client.request("POST", "/v1/signals", json={"name": name, **spec}, headers={"Idempotency-Key": key})


@pytest.mark.slow
async def test_a_repeat_is_answered_as_the_first_throw_was(client, name):
    _, _, first = await keyed(client, name, "key", payload=1)

    status, headers, again = await keyed(client, name, "key", payload=1)

    assert (status, headers["Idempotency-Replayed"]) == (202, "true")
    assert headers["Location"] == f"/v1/signals/{first['id']}"
    assert again == first


async def test_the_first_throw_is_no_replay(client, name):
    _, headers, _ = await keyed(client, name, name)

    assert "Idempotency-Replayed" not in headers


@pytest.mark.slow
async def test_a_repeat_is_not_delivered_again(client, name):
    subscription = await subscribe(client, name)
    first, again = [(await keyed(client, name, name))[2] for _ in range(2)]
    later = await throw(client, name)

    for signal in (first, later):
        await recorded(client, signal["id"])
    page = await client.get(f"/v1/deliveries?subscriptionId={subscription['id']}")

    assert [owed["signalId"] for owed in page["items"]] == [first["id"], later["id"]]
    assert again["id"] == first["id"]


async def test_another_body_under_the_same_key_is_a_conflict(client, name):
    await keyed(client, name, name, payload=1)

    status, _, problem = await keyed(client, name, name, payload=2)

    assert (status, problem["title"]) == (409, "Conflict")


async def test_keys_of_an_api_token_and_an_endpoints_token_of_the_same_number_never_meet(client, product, name):
    made, _ = await endpoint(client)
    async with Database(product.environment["STORE_URL"]) as database:
        await database.execute(SAME_NUMBERS)
    of_endpoint = await client.post(f"/api/admin/signal-endpoints/{made['id']}/tokens", {"name": "second"})
    of_api = await client.post("/v1/tokens", {"name": name, "permissions": ["signals:throw"]})
    assert of_endpoint["id"] == of_api["id"]
    path = f"/api/signal-endpoint/{made['name']}"

    await client.caller(of_endpoint["token"]).post(path, {}, expect=200, Idempotency_Key="order-1")
    status, headers, _ = await keyed(client.caller(of_api["token"]), name, "order-1")

    assert (status, "Idempotency-Replayed" in headers) == (202, False)


async def test_keys_of_different_callers_never_meet(client, name):
    other = client.caller(await token(client, "signals:throw"))

    _, _, mine = await keyed(client, name, name, payload=1)
    status, headers, theirs = await keyed(other, name, name, payload=2)

    assert status == 202
    assert "Idempotency-Replayed" not in headers
    assert theirs["id"] > mine["id"]


@pytest.mark.slow
async def test_concurrent_throws_with_one_key_are_one_signal_over_two_gateways(client, second_url, name):
    subscription = await subscribe(client, name)
    async with client_of(second_url) as second:
        answers = await asyncio.gather(*(keyed(gateway, name, name) for gateway in (client, second) for _ in range(10)))

    ids = {signal["id"] for _, _, signal in answers}
    assert [status for status, _, _ in answers] == [202] * 20
    assert sum("Idempotency-Replayed" not in headers for _, headers, _ in answers) == 1
    assert len(ids) == 1
    assert await matched(client, ids.pop()) == {subscription["id"]}


@pytest.mark.slow
async def test_concurrent_throws_with_one_key_and_two_bodies_are_one_signal_and_conflicts(client, second_url, name):
    async with client_of(second_url) as second:
        answers = await asyncio.gather(
            *(keyed(gateway, name, name, payload=n) for gateway in (client, second) for n in range(4))
        )

    accepted = {signal["payload"] for status, _, signal in answers if status == 202}
    assert len(accepted) == 1
    assert {status for status, _, _ in answers} == {202, 409}


@pytest.mark.slow
async def test_camundas_and_unleashs_dialects_take_keys_too(client, name):
    made, value = await endpoint(client)
    caller = client.caller(value)
    for body in ({"n": 1}, {"n": 1}):
        _, _, answer = await caller.request(
            "POST", f"/api/signal-endpoint/{made['name']}", json=body, headers={"Idempotency-Key": name}
        )
        called = answer["signals"][0]["id"]
        await client.post("/engine-rest/signal", {"name": name}, expect=204, Idempotency_Key=name)
    last = await throw_recorded(client, name)

    assert (await recorded_ids(client, name, 2))[1] == last["id"]
    assert [one["id"] for one in (await client.get(f"/v1/signals?name={made['name']}"))["items"]] == [called]
    error = await client.post("/engine-rest/signal", {"name": f"{name}.other"}, expect=409, Idempotency_Key=name)
    assert error["type"] == "InvalidRequestException"
    assert "Idempotency-Key" in error["message"]


@pytest.mark.parametrize("key", ["", "x" * 256, "ä"])
async def test_a_key_that_is_none_is_refused(client, name, key):
    status, _, problem = await keyed(client, name, key)

    assert status == 400
    assert problem["errors"][0]["pointer"] == "Idempotency-Key"
