"""`POST /v1/subscriptions?ifAbsent=true`: a subscription is created once, however many ask for it."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.throwing import fresh_id, token

PULL = {"kind": "pull"}


async def ask(caller, expect, **wanted):
    return await caller.post("/v1/subscriptions?ifAbsent=true", {"target": PULL, **wanted}, expect=expect)


async def ids(client, name):
    return [one["id"] for one in (await client.get(f"/v1/subscriptions?name={name}"))["items"]]


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
@pytest.mark.parametrize("more", [{}, {"executionId": "e"}, {"tenantId": "acme"}], ids=str)
async def test_those_who_ask_at_the_same_time_get_the_same_subscription(client, name, more):
    more = {member: fresh_id(value) for member, value in more.items()}
    wanted = {"name": name, "target": PULL, "description": "shop/book", **more}
    answers = [client.request("POST", "/v1/subscriptions?ifAbsent=true", json=wanted) for _ in range(12)]
    statuses, _, bodies = zip(*await asyncio.gather(*answers), strict=True)
    assert sorted(statuses) == [200] * 11 + [201]
    assert {body["id"] for body in bodies} == set(await ids(client, name))
    assert len(await ids(client, name)) == 1


async def test_what_there_is_is_answered_as_it_is(client, name):
    made = await ask(client, 201, name=name, maxInFlight=3)
    await client.post(f"/v1/subscriptions/{made['id']}/pause", {}, expect=200)
    found = await ask(client, 200, name=name, maxInFlight=5)
    assert (found["id"], found["maxInFlight"], found["state"]) == (made["id"], 3, "paused")


@pytest.mark.parametrize(
    "other",
    [
        {"tenantId": "acme"},
        {"executionId": "e"},
        {"description": "shop/send"},
        {"once": True},
        {"ordered": True},
        {"target": {"kind": "queue", "queue": "books"}},
    ],
    ids=str,
)
async def test_what_differs_in_more_than_options_is_another_one(client, name, other):
    wanted = {"name": name, "description": "shop/book"}
    made = await ask(client, 201, **wanted)
    another = await ask(client, 201, **wanted | other)
    assert (await ask(client, 200, **wanted | other))["id"] == another["id"]
    assert await ids(client, name) == [made["id"], another["id"]]


async def test_one_that_is_deleted_is_absent(client, name):
    made = await ask(client, 201, name=name)
    await client.request("DELETE", f"/v1/subscriptions/{made['id']}")
    assert (await ask(client, 201, name=name))["id"] > made["id"]


async def test_without_the_parameter_another_one_is_created(client, name):
    made = await ask(client, 201, name=name)
    for query in ("", "?ifAbsent=false"):
        another = await client.post(f"/v1/subscriptions{query}", {"name": name, "target": PULL}, expect=201)
        assert another["id"] > made["id"]
    assert (await ask(client, 200, name=name))["id"] == made["id"]


async def test_a_caller_finds_only_what_it_owns(client, name):
    tenant = fresh_id("tenant")
    await client.post("/v1/subscriptions", {"name": name, "target": PULL}, expect=201)
    limited = client.caller(await token(client, "subscriptions:manage", tenants=[tenant], untenanted=True))
    own = await ask(limited, 201, name=name)
    assert (await ask(limited, 200, name=name))["id"] == own["id"]
    stranger = client.caller(await token(client, "subscriptions:manage", names=["other"]))
    await ask(stranger, 403, name=name)


async def test_one_that_there_is_takes_no_place_of_a_quota(client, name):
    tenant = fresh_id("tenant")
    await client.request("PUT", f"/v1/quotas/tenants/{tenant}", json={"subscriptions": 1})
    made = await ask(client, 201, name=name, tenantId=tenant)
    assert (await ask(client, 200, name=name, tenantId=tenant))["id"] == made["id"]
    await ask(client, 429, name=name, tenantId=tenant, description="another")


@pytest.mark.parametrize(
    "spec",
    [
        {"target": {"kind": "webhook", "url": "http://127.0.0.1:9/"}},
        {"steps": [{"target": {"kind": "queue", "queue": queue}} for queue in ("a", "b")]},
    ],
    ids=["webhook", "steps"],
)
async def test_what_cannot_be_compared_cannot_be_asked_for(client, name, spec):
    problem = await client.post("/v1/subscriptions?ifAbsent=true", {"name": name, **spec}, expect=400)
    assert [error["pointer"] for error in problem["errors"]] == ["?ifAbsent"]
    assert await ids(client, name) == []


async def test_another_value_is_refused(client, name):
    problem = await client.post("/v1/subscriptions?ifAbsent=yes", {"name": name, "target": PULL}, expect=400)
    assert problem["errors"] == [{"pointer": "?ifAbsent", "detail": "must be one of true, false"}]
