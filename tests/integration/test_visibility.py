"""What a limited caller may see: signals of its names and tenants, and what reached them."""

from __future__ import annotations

from tests.support.throwing import fresh_id, recorded, subscribe, throw, token


async def sees(caller, signal):
    status, _, _ = await caller.request("GET", f"/v1/signals/{signal['id']}")
    assert status in {200, 404}
    return status == 200


async def test_a_caller_limited_to_names_sees_signals_of_those_names_only(client, name):
    mine, other = await throw(client, name + ".mine"), await throw(client, name + ".other")
    for signal in (mine, other):
        await recorded(client, signal["id"])
    caller = client.caller(await token(client, "signals:read", names=[name + ".mine"]))

    assert await sees(caller, mine)
    assert not await sees(caller, other)
    page = await caller.get(f"/v1/signals?name={name}.mine")
    assert [signal["id"] for signal in page["items"]] == [mine["id"]]
    assert (await caller.request("GET", f"/v1/signals?name={name}.other"))[0] == 403
    assert [signal["id"] for signal in (await caller.get("/v1/signals?order=desc"))["items"]] == [mine["id"]]


async def test_what_a_limited_caller_broadcast_is_seen_by_its_tenants_only(client, name):
    one, two = fresh_id("tenant"), fresh_id("tenant")
    signal = await throw(client.caller(await token(client, "signals:throw", tenants=[one])), name)
    await recorded(client, signal["id"])
    friend = client.caller(await token(client, "signals:read", tenants=[one, fresh_id("tenant")]))
    stranger = client.caller(await token(client, "signals:read", tenants=[two]))

    assert await sees(friend, signal)
    assert not await sees(stranger, signal)
    assert [s["id"] for s in (await friend.get(f"/v1/signals?name={name}"))["items"]] == [signal["id"]]
    assert (await stranger.get(f"/v1/signals?name={name}"))["items"] == []


async def test_a_limited_caller_does_not_reach_an_execution_of_another_tenant(client, name):
    execution = fresh_id("execution")
    await subscribe(client, name, executionId=execution, tenantId=fresh_id("tenant"))
    caller = client.caller(await token(client, "signals:throw", tenants=[fresh_id("tenant")]))

    status, _, problem = await caller.request("POST", "/v1/signals", json={"name": name, "executionId": execution})

    assert status == 403
    assert "may not name the tenant" in problem["detail"]
