"""A principal limited to tenants reaches, sees and changes what belongs to these, and nothing beyond."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.receiver import Answer
from tests.support.throwing import NOWHERE, delivery, endpoint, fresh_id, matched, recorded, subscribe, throw, token

EVERY = ("signals:throw", "signals:read", "subscriptions:manage", "deliveries:manage")
DEAD = {"schedule": [], "maxAttempts": 1}


async def limited(client, tenant=None, **limits):
    """Return a caller that may do everything for one tenant, whose id is its attribute."""
    tenant = tenant or fresh_id("tenant")
    caller = client.caller(await token(client, *EVERY, tenants=[tenant], **limits))
    caller.tenant = tenant
    return caller


async def statuses(caller, subscription):
    """Return how the requests that change a subscription are answered; the deletion comes last."""
    path = f"/v1/subscriptions/{subscription['id']}"
    target = {"kind": "webhook", "url": NOWHERE}
    answers = [
        await caller.request("PATCH", path, json={"target": target}),
        await caller.request("POST", f"{path}/rotate-secret", json={}),
        await caller.request("POST", f"{path}/pause"),
        await caller.request("POST", f"{path}/resume", json={}),
        await caller.request("POST", f"{path}/replay", json={}),
        await caller.request("DELETE", path),
    ]
    return [status for status, _, _ in answers]


async def test_what_belongs_to_no_tenant_is_neither_seen_nor_subscribed_to_without_permission(client, name):
    acme = await limited(client)
    nobodys = await subscribe(client, name)
    document = {"name": name, "target": {"kind": "webhook", "url": NOWHERE}}
    await acme.post("/v1/subscriptions", document, expect=403)
    assert (await acme.get(f"/v1/subscriptions?name={name}"))["items"] == []
    assert await statuses(acme, nobodys) == [404] * 6


async def test_what_belongs_to_no_tenant_is_never_changed_by_who_is_limited(client, name):
    acme = await limited(client, untenanted=True)
    nobodys = await subscribe(client, name)
    assert (await acme.get(f"/v1/subscriptions/{nobodys['id']}"))["createdBy"] == "admin"
    assert await statuses(acme, nobodys) == [403] * 6


async def test_an_untenanted_subscription_belongs_to_its_creators_tenants(client, name):
    acme, beta = await limited(client, untenanted=True), await limited(client, untenanted=True)
    made = await subscribe(acme, name)
    assert await statuses(beta, made) == [404] * 6
    assert (await beta.get(f"/v1/subscriptions?name={name}"))["items"] == []
    blind = await limited(client, acme.tenant)
    assert await statuses(blind, made) == [404] * 6, "it could let signals without a tenant come to itself"
    colleague = await limited(client, acme.tenant, untenanted=True)
    assert await statuses(colleague, made) == [200] * 5 + [204]


@pytest.mark.slow
async def test_a_subscription_gets_nothing_that_its_creator_may_not_read(client, name):
    acme, beta = await limited(client, untenanted=True), await limited(client)
    mine = await subscribe(acme, "#")
    operators = await subscribe(client, name)
    theirs = await throw(beta, name)
    tenants = await throw(client, name, tenantId=acme.tenant)
    untenanted, everybodys = await throw(client, name, withoutTenantId=True), await throw(client, name)
    own = await throw(acme, name)
    assert await matched(client, theirs["id"]) == {operators["id"]}, "Camunda's rule for who has no tenant"
    assert (await acme.request("GET", f"/v1/signals/{theirs['id']}"))[0] == 404
    for signal in (untenanted, everybodys, own):
        assert await matched(client, signal["id"]) == {mine["id"], operators["id"]}
        assert (await acme.request("GET", f"/v1/signals/{signal['id']}"))[0] == 200
    assert await matched(client, tenants["id"]) == set()
    assert (await client.post(f"/v1/subscriptions/{mine['id']}/replay", {"name": name}))["count"] == 0
    await client.request("DELETE", f"/v1/subscriptions/{mine['id']}")


@pytest.mark.slow
async def test_a_signal_without_a_tenant_needs_the_permission_to_be_read(client, name):
    acme, further = await limited(client), await limited(client, untenanted=True)
    signal = await throw(client, name, withoutTenantId=True)
    await recorded(client, signal["id"])
    assert (await acme.request("GET", f"/v1/signals/{signal['id']}"))[0] == 404
    assert (await acme.get(f"/v1/signals?name={name}"))["items"] == []
    assert [one["id"] for one in (await further.get(f"/v1/signals?name={name}"))["items"]] == [signal["id"]]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["#", "other"])
async def test_nobody_listens_in_at_an_execution_of_others(client, name, pattern):
    execution = fresh_id("execution")
    acme, beta = await limited(client, untenanted=True), await limited(client)
    theirs = await subscribe(beta, name, executionId=execution, tenantId=beta.tenant)
    document = {"name": pattern, "target": {"kind": "webhook", "url": NOWHERE}, "executionId": execution}
    for more in ({}, {"tenantId": acme.tenant}):
        await acme.post("/v1/subscriptions", document | more, expect=409)
    operators = await subscribe(client, name, executionId=execution)
    await subscribe(client, name, executionId=execution, tenantId=acme.tenant)

    own = await throw(beta, name, executionId=execution)
    by_operator = await throw(client, name, executionId=execution)
    for signal in (own, by_operator):
        assert await matched(client, signal["id"]) == {theirs["id"], operators["id"]}
        assert (await acme.request("GET", f"/v1/signals/{signal['id']}"))[0] == 404
        assert (await beta.request("GET", f"/v1/signals/{signal['id']}"))[0] == 200
    problem = await acme.post("/v1/signals", {"name": name, "executionId": execution}, expect=403)
    assert beta.tenant not in problem["detail"]
    for path in ("/v1/signals/explain", "/v1/signals/batch"):
        signal = {"name": name, "executionId": execution}
        status, _, body = await acme.request("POST", path, json={"signals": [signal]} if "batch" in path else signal)
        assert 403 in (status, *(one["status"] for one in body.get("results", [])))


@pytest.mark.slow
async def test_of_tenants_that_begin_to_wait_at_once_one_has_the_execution(client, name):
    callers = [await limited(client) for _ in range(2)]
    for _ in range(20):
        document = {"name": name, "target": {"kind": "webhook", "url": NOWHERE}, "executionId": fresh_id("execution")}
        answers = await asyncio.gather(
            *(
                caller.request("POST", "/v1/subscriptions", json={**document, "tenantId": caller.tenant})
                for caller in callers
            )
        )
        assert sorted(status for status, _, _ in answers) == [201, 409]


async def test_an_execution_without_a_tenant_is_the_operators(client, name):
    execution = fresh_id("execution")
    acme = await limited(client, untenanted=True)
    operators = await subscribe(client, name, executionId=execution)
    document = {"name": name, "target": {"kind": "webhook", "url": NOWHERE}, "executionId": execution}
    await acme.post("/v1/subscriptions", document | {"tenantId": acme.tenant}, expect=409)
    signal = await throw(client, name, executionId=execution)
    assert await matched(client, signal["id"]) == {operators["id"]}
    assert (await (await limited(client)).request("GET", f"/v1/signals/{signal['id']}"))[0] == 404
    own = await throw(acme, name, executionId=execution)
    assert await matched(client, own["id"]) == {operators["id"]}, "Camunda's rule for who has no tenant"


@pytest.mark.slow
async def test_an_execution_that_nobody_waits_in_any_more_is_anybodys(client, name):
    execution = fresh_id("execution")
    acme, beta = await limited(client), await limited(client)
    theirs = await subscribe(beta, name, executionId=execution, tenantId=beta.tenant, once=True)
    signal = await throw(beta, name, executionId=execution)
    assert await matched(client, signal["id"]) == {theirs["id"]}
    mine = await subscribe(acme, name, executionId=execution, tenantId=acme.tenant)
    assert (await acme.post(f"/v1/subscriptions/{mine['id']}/replay", {"name": name}))["count"] == 0
    assert (await client.post(f"/v1/subscriptions/{mine['id']}/replay", {"name": name}))["count"] == 0


@pytest.mark.slow
async def test_only_what_is_for_its_tenants_alone_is_cancelled(client, name):
    acme, beta = await limited(client, untenanted=True), await limited(client)
    later = {"deliverAt": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    foreign = [
        await throw(client, name, withoutTenantId=True, **later),
        await throw(client, name, **later),
        await throw(beta, name, **later),
        await throw(beta, name, withoutTenantId=True, **later),
    ]
    mine = [await throw(acme, name, **later), await throw(acme, name, withoutTenantId=True, **later)]
    for signal in (*foreign, *mine):
        await recorded(client, signal["id"])
    assert [(await acme.request("DELETE", f"/v1/signals/{signal['id']}"))[0] for signal in foreign] == [404] * 4
    assert [(await acme.request("DELETE", f"/v1/signals/{signal['id']}"))[0] for signal in mine] == [204] * 2


@pytest.mark.slow
async def test_deliveries_are_read_and_changed_where_both_signal_and_subscription_are(client, webhooks, name):
    """The operator's subscription gets a signal of beta: acme sees the subscription, but not that."""
    acme, beta = await limited(client, untenanted=True), await limited(client)
    operators = await subscribe(client, name, webhooks.answer("/", Answer(status=500, body=b"secret")), retry=DEAD)
    theirs = await delivery(client, await throw(beta, name), operators, "dead")
    everybodys = await delivery(client, await throw(client, name), operators, "dead")

    page = await acme.get(f"/v1/deliveries?name={name}")

    assert [one["id"] for one in page["items"]] == [everybodys["id"]]
    assert (await acme.request("GET", f"/v1/deliveries/{theirs['id']}"))[0] == 404
    assert (await acme.request("GET", f"/v1/deliveries/{everybodys['id']}"))[0] == 200
    for one, status in ((theirs, 404), (everybodys, 403)):
        for verb in ("redrive", "cancel"):
            assert (await acme.request("POST", f"/v1/deliveries/{one['id']}/{verb}"))[0] == status
    assert (await acme.post("/v1/deliveries/redrive", {"name": name}))["count"] == 0


async def test_camundas_lists_show_what_has_no_tenant_but_nothing_of_others(client, name):
    acme, beta = await limited(client), await limited(client, untenanted=True)
    execution = fresh_id("execution")
    await subscribe(client, name)
    await subscribe(beta, name, executionId=execution)
    rows = await acme.get(f"/engine-rest/event-subscription?eventName={name}")
    assert [row["executionId"] for row in rows] == [None]
    assert await acme.get(f"/engine-rest/event-subscription/count?eventName={name}") == {"count": 1}
    assert await acme.get(f"/engine-rest/execution?signalEventSubscriptionName={name}") == []
    assert len(await beta.get(f"/engine-rest/execution?signalEventSubscriptionName={name}")) == 1


@pytest.mark.slow
async def test_signals_of_endpoints_are_read_by_the_tenants_they_are_for(client):
    maker = client.caller(await token(client, "endpoints:manage", "signals:throw", tenants=["of-maker"]))
    made, value = await endpoint(maker)
    signals = await client.caller(value).post(f"/api/signal-endpoint/{made['name']}", {}, expect=200)
    await recorded(client, signals["signals"][0]["id"])
    path = f"/api/admin/signal-endpoints/{made['id']}/signals"
    for tenants, count in ((["of-maker"], 1), (["other"], 0), (None, 1)):
        permissions = ("endpoints:manage", "signals:read")
        reader = client.caller(await token(client, *permissions, names=[made["name"]], tenants=tenants))
        answer = await reader.get("/api/admin/signals")
        assert (len(answer["signals"]), answer["total"]) == (count, count)
        assert len((await reader.get(path))["signalEndpointSignals"]) == count
    manager = client.caller(await token(client, "endpoints:manage", "signals:throw"))
    assert (await manager.request("GET", path))[0] == 403
