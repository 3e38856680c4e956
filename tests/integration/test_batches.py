"""Batches: each throw is accepted or refused by itself, in order."""

from __future__ import annotations

import io
import json

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import fresh_id, matched, recorded_ids, subscribe, token

JSON = {"Content-Type": "application/json"}


async def throw(client, *items, **headers):
    answer = await client.post("/v1/signals/batch", {"signals": items}, expect=200, **headers)
    return answer["results"]


async def test_one_bad_throw_does_not_spoil_the_rest(client, name):
    results = await throw(
        client,
        {"name": name, "payload": 1},
        {"name": name, "tenantId": "t", "payloud": 2, "without": 1},
        "no object",
        {"name": name, "executionId": "e", "tenantId": "t"},
        {"name": name, "variables": {"a": {"value": "x", "type": "Integer"}}},
        {"name": name, "expiresAt": "2020-01-01T00:00:00Z"},
        {"name": name, "payload": 3},
    )

    assert [result["status"] for result in results] == [202, 400, 400, 400, 400, 400, 202]
    assert [set(result) for result in results if result["status"] == 202] == [{"status", "id"}] * 2
    pointers = [
        [error["pointer"] for error in result["problem"].get("errors", [])] for result in results if "problem" in result
    ]
    assert pointers == [
        ["/signals/1/payloud", "/signals/1/without"],
        ["/signals/2"],
        ["/signals/3/tenantId"],
        ["/signals/4/variables/a"],
        ["/signals/5/expiresAt"],
    ]
    assert results[2]["problem"]["errors"][0]["detail"] == "must be a JSON object"
    assert results[3]["problem"]["detail"].startswith("signals/3/tenantId ")
    assert results[1]["problem"]["detail"].startswith("/signals/1/payloud: ")
    assert results[1]["problem"]["title"] == "Bad Request"
    assert await recorded_ids(client, name, 2) == [results[0]["id"], results[6]["id"]]


@pytest.mark.slow
async def test_ids_ascend_in_the_order_of_the_batch(client, name):
    results = await throw(client, *({"name": name, "payload": number} for number in range(1000)))

    ids = [result["id"] for result in results]
    assert ids == sorted(set(ids))
    assert await recorded_ids(client, name, 1000) == ids
    page = await client.get(f"/v1/signals?name={name}&limit=1000")
    signals = sorted(page["items"], key=lambda signal: signal["id"])
    assert [signal["payload"] for signal in signals] == list(range(1000))


async def test_every_payload_is_carried_untouched(client, webhooks, name):
    payloads = ['{"n": 1.50,\t"é":[ ]}', '"],["', "[ 1e2 , {} ]", "123456789012345678901234567890"]
    items = ",\n ".join(f'{{ "payload" :{payload}, "name":"{name}"}}' for payload in payloads)
    body = f'{{"signals": [1], "signals" : [ {items} ]}}'.encode()
    await subscribe(client, name, webhooks.url())

    status, _, answer = await client.request("POST", "/v1/signals/batch", data=body, headers=JSON)

    assert (status, [result["status"] for result in answer["results"]]) == (200, [202] * 4)
    await eventually(lambda: len(webhooks.requests) == len(payloads))
    delivered = sorted((json.loads(request.body)["id"], request.body.decode()) for request in webhooks.requests)
    for (_, text), payload in zip(delivered, payloads, strict=True):
        assert text.endswith(f',"payload":{payload}}}')


async def test_a_batch_may_be_sent_again(client, name):
    """Of what was refused before, or is new, a repeat makes signals; of what was accepted, none."""
    items = [{"name": name, "payload": 1}, {"name": name, "payload": 2}, {"name": ""}]
    first = await throw(client, *items, Idempotency_Key=name)
    again = await throw(client, *items, Idempotency_Key=name)
    changed = await throw(client, items[0], {"name": name, "payload": 3}, *items[:1], Idempotency_Key=name)

    assert again == first
    assert [result["status"] for result in changed] == [202, 409, 202]
    assert changed[0] == first[0]
    assert changed[2]["id"] > first[1]["id"]


async def test_a_throw_of_a_batch_may_have_a_key_of_its_own(client, name):
    own = {"name": name, "idempotencyKey": f"{name}-own"}
    first, same, other = await throw(client, own, own, {**own, "payload": 1})
    assert (first, same["id"], other["status"]) == ({"status": 202, "id": first["id"]}, first["id"], 409)
    moved, _ = await throw(client, {"name": name, "idempotencyKey": f"{name}-2"}, own, Idempotency_Key=name)
    assert moved["id"] > first["id"]
    (bad,) = await throw(client, {"name": name, "idempotencyKey": "é"})
    assert (bad["status"], bad["problem"]["errors"][0]["pointer"]) == (400, "/signals/0/idempotencyKey")


async def test_permissions_hold_for_every_throw_of_a_batch(client, name):
    mine, theirs = fresh_id("tenant"), fresh_id("tenant")
    waiting = await subscribe(client, name, tenantId=mine)
    strange = await subscribe(client, name, tenantId=theirs, executionId=fresh_id("execution"))
    caller = client.caller(await token(client, "signals:throw", tenants=[mine], names=[name]))

    results = await throw(
        caller,
        {"name": name},
        {"name": name, "tenantId": theirs},
        {"name": f"{name}.other"},
        {"name": name, "executionId": strange["executionId"]},
    )

    assert [result["status"] for result in results] == [202, 403, 403, 403]
    assert await matched(client, results[0]["id"]) == {waiting["id"]}
    reader = client.caller(await token(client, "signals:read"))
    assert (await reader.post("/v1/signals/batch", {"signals": [{"name": name}]}, expect=403))["status"] == 403


async def test_a_batch_that_is_none_is_refused_as_a_whole(client, name):
    for document in ({}, {"signals": []}, {"signals": {}}, {"signals": [{"name": name}], "more": 1}, []):
        problem = await client.post("/v1/signals/batch", document, expect=400)
        assert problem["title"] == "Bad Request"
    problem = await client.post("/v1/signals/batch", {"signals": [{"name": name}] * 1001}, expect=400)
    assert problem["errors"] == [
        {"pointer": "/signals", "detail": "List should have at most 1000 items after validation, not 1001"}
    ]
    large = json.dumps({"signals": [{"name": name, "payload": "x" * 600_000}] * 2}).encode()
    assert (await client.request("POST", "/v1/signals/batch", data=io.BytesIO(large), headers=JSON))[0] == 413
