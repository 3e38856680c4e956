"""Quotas of tenants and tokens: set by administrators, held by every gateway, answered in each dialect's form."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.support.eventually import eventually
from tests.support.product import client_of
from tests.support.throwing import NOWHERE, endpoint, fresh_id, subscribe, token

NONE = {"throwsPerSecond": None, "subscriptions": None, "deliveriesPerThrow": None, "payloadBytesPerDay": None}


async def put(client, kind, key, **quota):
    """Set a quota; return it."""
    status, _, body = await client.request("PUT", f"/v1/quotas/{kind}/{key}", json=quota)
    assert status == 200, (status, body)
    return body


async def new_token(client, *permissions, **limits):
    """Return (id, a client that calls with it)."""
    made = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": list(permissions), **limits})
    return made["id"], client.caller(made["token"])


async def refused(caller, path, document):
    """Throw until the gateway knows of the quota; return its refusal."""

    async def check():
        status, headers, body = await caller.request("POST", path, json=document)
        return (status, headers, body) if status == 429 else None

    return await eventually(check)


async def test_quotas_are_set_shown_listed_removed_and_audited(client):
    tenant, (token_id, _) = fresh_id("tenant"), await new_token(client, "signals:throw")
    of_tenant = await put(client, "tenants", tenant, throwsPerSecond=2.5, subscriptions=0)
    of_token = await put(client, "tokens", token_id, payloadBytesPerDay=1 << 40)
    assert of_tenant == {**NONE, "kind": "tenants", "id": tenant, "throwsPerSecond": 2.5, "subscriptions": 0}
    assert of_token == {**NONE, "kind": "tokens", "id": str(token_id), "payloadBytesPerDay": 1 << 40}
    assert await put(client, "tenants", tenant) == {**NONE, "kind": "tenants", "id": tenant}
    listed, following = [], ""
    while following is not None:
        page = await client.get(f"/v1/quotas?limit=1&after={following}" if following else "/v1/quotas?limit=1")
        listed, following = listed + page["items"], page["next"]
    assert of_token in listed
    assert [one["id"] for one in listed if one["kind"] == "tenants"][:1] <= [tenant]
    path = f"/v1/quotas/tenants/{tenant}"
    assert (await client.request("DELETE", path))[0] == 204
    assert [(await client.request(method, path))[0] for method in ("GET", "DELETE")] == [404, 404]
    events = [
        event
        for kind in ("quota-set", "quota-removed")
        for event in (await client.get(f"/v1/audit?type={kind}&limit=1000"))["items"]
        if tenant in json.dumps(event)
    ]
    assert [(event["before"] or {}).get("throws_per_second") for event in events] == [None, 2.5, None]


async def test_an_administrator_has_the_quotas_within_its_limits(client):
    mine, theirs = fresh_id("tenant"), fresh_id("tenant")
    _, limited = await new_token(client, "admin", tenants=[mine])
    own, _ = await new_token(client, "signals:throw", tenants=[mine])
    foreign, _ = await new_token(client, "signals:throw")
    await put(client, "tenants", theirs, subscriptions=1)
    await put(client, "tokens", foreign, subscriptions=1)
    await put(limited, "tenants", mine, subscriptions=1)
    await put(limited, "tokens", own, subscriptions=1)
    for path in (f"tenants/{theirs}", f"tokens/{foreign}"):
        for method in ("PUT", "GET", "DELETE"):
            body = {"json": {}} if method == "PUT" else {}
            assert (await limited.request(method, f"/v1/quotas/{path}", **body))[0] == 404
    found = {(one["kind"], one["id"]) for one in (await limited.get("/v1/quotas?limit=1000"))["items"]}
    assert found == {("tenants", mine), ("tokens", str(own))}


@pytest.mark.parametrize("limit", ["names", "queues"])
async def test_who_is_limited_to_some_of_what_a_tenant_does_has_not_its_quota(client, limit):
    tenant = fresh_id("tenant")
    await put(client, "tenants", tenant, subscriptions=1)
    for tenants in ({}, {"tenants": [tenant]}):
        _, limited = await new_token(client, "admin", **tenants, **{limit: ["some.*"]})
        for method in ("PUT", "GET", "DELETE"):
            body = {"json": {}} if method == "PUT" else {}
            assert (await limited.request(method, f"/v1/quotas/tenants/{tenant}", **body))[0] == 404
        assert [one for one in (await limited.get("/v1/quotas?limit=1000"))["items"] if one["id"] == tenant] == []


async def test_throws_beyond_the_quota_are_answered_429_with_its_name_in_the_form_of_each_dialect(client, name):
    token_id, caller = await new_token(client, "signals:throw")
    await put(client, "tokens", token_id, payloadBytesPerDay=0)
    detail = f"The quota payloadBytesPerDay of the token '{token_id}' (0) is used up."
    _, headers, body = await refused(caller, "/v1/signals", {"name": name})
    assert (body["status"], body["detail"]) == (429, detail)
    assert 0 < int(headers["Retry-After"]) <= 86_400
    status, headers, body = await caller.request("POST", "/engine-rest/signal", json={"name": name})
    assert (status, body["message"], set(body)) == (429, detail, {"type", "message", "code"})
    assert "Retry-After" in headers
    status, headers, body = await caller.request("POST", "/v2/signals/broadcast", json={"signalName": name})
    assert (status, body["title"], body["detail"]) == (429, "RESOURCE_EXHAUSTED", detail)
    answer = await caller.post("/v1/signals/batch", {"signals": [{"name": name}] * 2}, expect=200)
    assert [(one["status"], one["problem"]["detail"]) for one in answer["results"]] == [(429, detail)] * 2


async def test_a_signal_endpoint_counts_for_the_tenants_of_its_creator(client):
    tenant = fresh_id("tenant")
    _, creator = await new_token(client, "endpoints:manage", "signals:throw", tenants=[tenant])
    made, opener = await endpoint(creator)
    await put(client, "tenants", tenant, payloadBytesPerDay=0)
    _, headers, body = await refused(client.caller(opener), f"/api/signal-endpoint/{made['name']}", {})
    assert body["name"] == "TooManyRequestsError"
    assert body["message"] == f"The quota payloadBytesPerDay of the tenant '{tenant}' (0) is used up."
    assert "Retry-After" in headers


async def test_each_item_of_a_batch_counts(client, name):
    token_id, caller = await new_token(client, "signals:throw")
    await put(client, "tokens", token_id, throwsPerSecond=80)

    async def throw_many():
        answer = await caller.post("/v1/signals/batch", {"signals": [{"name": name}] * 100}, expect=200)
        return {one["status"] for one in answer["results"]} == {202, 429}

    await eventually(throw_many)


async def test_a_throw_without_a_tenant_counts_for_the_tenants_of_its_caller(client, name):
    tenant = fresh_id("tenant")
    _, caller = await new_token(client, "signals:throw", tenants=[tenant], untenanted=True)
    await put(client, "tenants", tenant, payloadBytesPerDay=0)
    for path, document in (
        ("/v1/signals", {"name": name, "withoutTenantId": True}),
        ("/engine-rest/signal", {"name": name, "withoutTenantId": True}),
        ("/v2/signals/broadcast", {"signalName": name}),
    ):
        await refused(caller, path, document)


@pytest.mark.slow
async def test_a_batch_is_held_to_all_quotas_at_once(client, name):
    """Receivers are counted in between, and meanwhile the other items are on their way."""
    token_id, caller = await new_token(client, "signals:throw")
    await put(client, "tokens", token_id, payloadBytesPerDay=300, deliveriesPerThrow=1000)
    await refused(caller, "/v1/signals", {"name": name, "payload": {"p": "x" * 300}})
    signals = [{"name": f"{name}.{number}", "payload": {"p": "x" * 90}} for number in range(50)]
    answer = await caller.post("/v1/signals/batch", {"signals": signals}, expect=200)
    assert [one["status"] for one in answer["results"]].count(202) == 3


@pytest.mark.slow
async def test_a_signal_may_be_for_so_many_subscriptions(client, name):
    token_id, caller = await new_token(client, "signals:throw")
    await put(client, "tokens", token_id, deliveriesPerThrow=2)
    for pattern in (f"{name}.many", f"{name}.*", f"{name}.#"):
        await subscribe(client, pattern, filter={"a": {"operator": "STR_CONTAINS", "values": ["never"]}})
    _, _, body = await refused(caller, "/v1/signals", {"name": f"{name}.many"})
    assert body["detail"] == (
        f"The signal is for more subscriptions than the quota deliveriesPerThrow of the token '{token_id}' allows (2)."
    )
    await caller.post("/v1/signals", {"name": f"{name}.few"}, expect=202)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tenants", "tokens"])
async def test_so_many_subscriptions_there_may_be_whatever_comes_at_the_same_moment(client, name, second_url, kind):
    tenant = fresh_id("tenant")
    token_id, caller = await new_token(client, "subscriptions:manage", tenants=[tenant])
    await put(client, kind, tenant if kind == "tenants" else token_id, subscriptions=5)
    document = {"name": name, "tenantId": tenant, "target": {"kind": "webhook", "url": NOWHERE}}
    async with client_of(second_url) as second:
        callers = [caller, second.caller(caller.token)]
        answers = await asyncio.gather(
            *(callers[n % 2].request("POST", "/v1/subscriptions", json=document) for n in range(12))
        )
    assert sorted(status for status, _, _ in answers) == [201] * 5 + [429] * 7
    _, headers, body = next(answer for answer in answers if answer[0] == 429)
    assert "quota subscriptions" in body["detail"]
    assert "Retry-After" in headers
    made = next(body["id"] for status, _, body in answers if status == 201)
    assert (await caller.request("DELETE", f"/v1/subscriptions/{made}"))[0] == 204
    await caller.post("/v1/subscriptions", document, expect=201)


@pytest.mark.slow
async def test_payloads_are_counted_over_gateways(client, name, second_url):
    token_id, caller = await new_token(client, "signals:throw")
    await put(client, "tokens", token_id, payloadBytesPerDay=10_000)
    async with client_of(second_url) as second:
        other = second.caller(caller.token)
        await caller.post("/v1/signals", {"name": name, "payload": "x" * 6_000}, expect=202)
        await refused(other, "/v1/signals", {"name": name, "payload": "x" * 6_000})
    await caller.post("/v1/signals", {"name": name, "payload": "x" * 1_000}, expect=202)


@pytest.mark.slow
async def test_throws_are_counted_over_gateways(client, name, second_url):
    token_id, caller = await new_token(client, "signals:throw")
    await put(client, "tokens", token_id, throwsPerSecond=10)
    async with client_of(second_url) as second:
        callers = [caller, second.caller(caller.token)]
        for one in callers:
            await refused(one, "/v1/signals", {"name": name})
        began, accepted = time.monotonic(), []

        async def throw(one):
            while time.monotonic() < began + 3:
                status, headers, _ = await one.request("POST", "/v1/signals", json={"name": name})
                if status == 202:
                    accepted.append(one)
                else:
                    assert (status, headers["Retry-After"]) == (429, "1")

        await asyncio.gather(*(throw(one) for one in callers))
        seconds = time.monotonic() - began
    assert len(accepted) < 10 * seconds * 1.2 + 5


async def test_without_the_permission_nobody_sets_quotas(client):
    caller = client.caller(await token(client, "signals:throw", "subscriptions:manage"))
    assert (await caller.request("PUT", "/v1/quotas/tenants/x", json={}))[0] == 403


@pytest.mark.slow
async def test_pages_tell_an_administrator_of_no_quota_beyond_its_limits(client):
    foreign, own = [fresh_id("tenant") for _ in range(5)], fresh_id("tenant")
    for tenant in (*foreign, own):
        await client.request("PUT", f"/v1/quotas/tenants/{tenant}", json={"throwsPerSecond": 1})
    caller = client.caller(await token(client, "admin", tenants=[own]))
    page = await caller.get("/v1/quotas?limit=1")
    assert [item["id"] for item in page["items"]] == [own]
    assert page["next"] == f"tenants/{own}"
    assert await caller.get(f"/v1/quotas?limit=1&after={page['next']}") == {"items": [], "next": None}
    nobody = client.caller(await token(client, "admin", tenants=[fresh_id("tenant")]))
    assert await nobody.get("/v1/quotas?limit=1") == {"items": [], "next": None}


@pytest.mark.slow
async def test_pages_go_on_after_the_longest_ids(client):
    tenants = [f"{letter}{fresh_id('tenant'):x<254}" for letter in "ab"]
    assert {len(tenant) for tenant in tenants} == {255}
    for tenant in tenants:
        await client.request("PUT", f"/v1/quotas/tenants/{tenant}", json={"throwsPerSecond": 1})
    found, following = [], ""
    while following is not None:
        page = await client.get(f"/v1/quotas?limit=1{following and f'&after={following}'}")
        found += [item["id"] for item in page["items"]]
        following = page["next"]
    assert [one for one in found if one in tenants] == tenants
    for tenant in tenants:
        await client.request("DELETE", f"/v1/quotas/tenants/{tenant}")
