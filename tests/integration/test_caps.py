"""Whatever a principal creates reaches no further than itself."""

from __future__ import annotations

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import endpoint, fresh_id, matched, recorded_ids, subscribe, token

PASSWORD = "correct horse"


@pytest.fixture
async def admin(client, name):
    """An administrator of one tenant and of some names; its names are its attributes."""
    tenant = fresh_id("tenant")
    value = await token(client, "admin", tenants=[tenant], names=[f"{name}.#"], queues=[f"{tenant}.#"])
    caller = client.caller(value)
    caller.tenant = tenant
    return caller


async def test_a_limited_administrator_creates_what_is_within_its_limits(admin, name):
    limits = {"tenants": [admin.tenant], "names": [f"{name}.a.*"], "queues": [f"{admin.tenant}.a"]}
    made = await admin.post("/v1/tokens", {"name": "t", "permissions": ["admin"], **limits}, expect=201)
    assert {limit: made[limit] for limit in limits} == limits
    assert made["untenanted"] is False
    await admin.post("/v1/users", {"name": fresh_id("user"), "password": PASSWORD, **limits}, expect=201)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wider",
    [
        {"tenants": None},
        {"tenants": ["{tenant}", "another"]},
        {"names": None},
        {"names": ["#"]},
        {"names": ["{name}.a", "test.*"]},
        {"untenanted": True},
        {"queues": None},
        {"queues": ["#"]},
        {"queues": ["*.a"]},
    ],
)
async def test_a_limited_administrator_creates_and_makes_nothing_wider(admin, client, name, wider):
    limits = {"tenants": [admin.tenant], "names": [f"{name}.#"], "queues": [f"{admin.tenant}.#"]}
    filled = {
        limit: [one.format(tenant=admin.tenant, name=name) for one in values] if isinstance(values, list) else values
        for limit, values in wider.items()
    }
    await admin.post("/v1/tokens", {"name": "t", "permissions": ["signals:read"], **limits, **filled}, expect=403)
    document = {"name": fresh_id("user"), "password": PASSWORD, **limits}
    await admin.post("/v1/users", {**document, **filled}, expect=403)
    made = await admin.post("/v1/users", document, expect=201)
    path = f"/v1/users/{made['id']}"
    assert (await admin.request("PATCH", path, json=filled))[0] == 403
    assert await client.get(path) == made


async def test_a_limited_administrator_cannot_lift_limits_by_camundas_group(admin, name):
    limits = {"tenants": [admin.tenant], "names": [f"{name}.#"], "queues": [f"{admin.tenant}.#"]}
    document = {"name": fresh_id("user"), "password": PASSWORD, "groups": ["camunda-admin"], **limits}
    await admin.post("/v1/users", document, expect=403)


async def test_what_reaches_further_than_a_limited_administrator_is_not_there_for_it(admin, client, name):
    wide = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": ["signals:read"]})
    other = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": ["admin"], "tenants": ["x"]})
    user = await client.post("/v1/users", {"name": fresh_id("user"), "password": PASSWORD})
    for path in (f"/v1/tokens/{wide['id']}", f"/v1/tokens/{other['id']}", f"/v1/users/{user['id']}"):
        assert (await admin.request("GET", path))[0] == 404
        assert (await admin.request("DELETE", path))[0] == 404
    path = f"/v1/users/{user['id']}"
    assert (await admin.request("PATCH", path, json={"password": "another horse"}))[0] == 404
    limits = {"tenants": [admin.tenant], "names": [f"{name}.x"], "queues": []}
    mine = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": ["signals:read"], **limits})
    listed = await admin.get("/v1/tokens?limit=1000")
    assert mine["id"] in {one["id"] for one in listed["items"]}
    assert not {wide["id"], other["id"]} & {one["id"] for one in listed["items"]}
    assert user["id"] not in {one["id"] for one in (await admin.get("/v1/users?limit=1000"))["items"]}
    assert (await admin.request("DELETE", f"/v1/tokens/{mine['id']}"))[0] == 204


async def test_a_limited_administrator_reads_the_audit_of_its_own(admin, client, name):
    limits = {"tenants": [admin.tenant], "names": [f"{name}.x"], "queues": []}
    made = await admin.post("/v1/tokens", {"name": "mine", "permissions": ["signals:read"], **limits})
    other = await client.post("/v1/tokens", {"name": "other", "permissions": ["signals:read"], **limits})

    page = await admin.get("/v1/audit?type=api-token-created&limit=1")

    assert [event["subjectId"] for event in page["items"]] == [made["id"]]
    events = await client.get(f"/v1/audit?type=api-token-created&limit=1000&afterId={page['items'][0]['id']}")
    assert other["id"] in {event["subjectId"] for event in events["items"]}
    assert (await admin.get(f"/v1/audit?afterId={page['items'][0]['id']}"))["items"] == []


async def test_the_products_own_keys_are_for_administrators_without_limits(admin, client):
    await admin.post("/v1/webhook-keys/rotate", {}, expect=403)
    narrow = client.caller(await token(client, "admin", queues=["a"]))
    await narrow.post("/v1/webhook-keys/rotate", {}, expect=403)


async def test_who_may_not_throw_makes_nothing_that_throws(client):
    made, _ = await endpoint(client, enabled=False)
    root = "/api/admin/signal-endpoints"
    path = f"{root}/{made['id']}"
    manager = client.caller(await token(client, "endpoints:manage"))
    answers = [
        await manager.request("POST", root, json={"name": fresh_id("payroll")}),
        await manager.request("PUT", path, json={"name": fresh_id("payroll")}),
        await manager.request("POST", f"{path}/tokens", json={"name": "t"}),
        await manager.request("POST", f"{path}/on"),
    ]
    assert [status for status, _, _ in answers] == [403] * 4
    assert (await manager.request("POST", f"{path}/off"))[0] == 200


async def test_an_endpoint_is_made_and_renamed_within_the_names_of_its_manager(client):
    mine = fresh_id("mine")
    manager = client.caller(await token(client, "endpoints:manage", "signals:throw", names=[mine, f"{mine}2"]))
    root = "/api/admin/signal-endpoints"
    assert (await manager.request("POST", root, json={"name": fresh_id("payroll")}))[0] == 403
    made = await manager.post(root, {"name": mine}, expect=201)
    assert (await manager.request("PUT", f"{root}/{made['id']}", json={"name": fresh_id("payroll")}))[0] == 403
    assert (await manager.request("PUT", f"{root}/{made['id']}", json={"name": f"{mine}2"}))[0] == 200


@pytest.mark.slow
async def test_an_endpoint_reaches_the_tenants_of_who_made_it(client):
    mine, other, name = fresh_id("tenant"), fresh_id("tenant"), fresh_id("payroll")
    ours, _, nobodys = [await subscribe(client, name, tenantId=tenant) for tenant in (mine, other, None)]
    manager = client.caller(await token(client, "endpoints:manage", "signals:throw", tenants=[mine]))
    made, value = await endpoint(manager, name)
    caller = client.caller(value)
    await caller.post(f"/api/signal-endpoint/{name}", {}, expect=200)
    [signal] = await recorded_ids(client, name, 1)
    assert await matched(client, signal) == {ours["id"], nobodys["id"]}

    renamed = fresh_id("payroll")
    await client.request("PUT", f"/api/admin/signal-endpoints/{made['id']}", json={"name": renamed})
    subscriptions = [await subscribe(client, renamed, tenantId=tenant) for tenant in (mine, other)]

    async def calls():
        return (await caller.request("POST", f"/api/signal-endpoint/{renamed}"))[0] == 200

    await eventually(calls)
    [signal] = await recorded_ids(client, renamed, 1)
    assert await matched(client, signal) == {subscriptions[0]["id"]}


async def test_an_endpoint_of_others_is_not_there(client):
    made, _ = await endpoint(client)
    theirs = client.caller(await token(client, "endpoints:manage", "signals:throw", tenants=["theirs"]))
    foreign, _ = await endpoint(theirs)
    tenant = fresh_id("tenant")
    limited = client.caller(await token(client, "endpoints:manage", "signals:throw", tenants=[tenant]))
    root = "/api/admin/signal-endpoints"
    for one in (made, foreign):
        path = f"{root}/{one['id']}"
        [token_id] = [found["id"] for found in (await client.get(f"{path}/tokens"))["signalEndpointTokens"]]
        answers = [
            await limited.request("PUT", path, json={"name": fresh_id("x")}),
            await limited.request("POST", f"{path}/on"),
            await limited.request("POST", f"{path}/off"),
            await limited.request("GET", f"{path}/tokens"),
            await limited.request("POST", f"{path}/tokens", json={"name": "t"}),
            await limited.request("PUT", f"{path}/tokens/{token_id}", json={"name": "t"}),
            await limited.request("DELETE", f"{path}/tokens/{token_id}"),
            await limited.request("DELETE", path),
        ]
        assert [status for status, _, _ in answers] == [404] * 8
    assert (await limited.get(root))["signalEndpoints"] == []
    mine, _ = await endpoint(limited)
    assert [one["id"] for one in (await limited.get(root))["signalEndpoints"]] == [mine["id"]]
