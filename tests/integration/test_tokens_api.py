"""API tokens: made, shown once, limited, revoked."""

from __future__ import annotations

from tests.support.eventually import eventually
from tests.support.throwing import fresh_id


async def test_a_tokens_value_is_shown_once_and_opens_the_gateway(client, name):
    title = fresh_id("token")
    status, headers, made = await client.request(
        "POST", "/v1/tokens", json={"name": title, "permissions": ["signals:throw"], "names": ["a.*"], "tenants": ["t"]}
    )

    assert status == 201
    assert headers["Location"] == f"/v1/tokens/{made['id']}"
    assert made["token"].startswith("sb_")
    assert (made["permissions"], made["names"], made["tenants"]) == (["signals:throw"], ["a.*"], ["t"])
    assert await client.get(f"/v1/tokens/{made['id']}") == {**made, "token": None}
    await client.caller(made["token"]).post("/v1/signals", {"name": "a.b"}, expect=202)


async def test_a_revoked_token_opens_nothing(client, name):
    made = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": ["signals:throw"]})
    caller = client.caller(made["token"])
    await caller.post("/v1/signals", {"name": name}, expect=202)

    assert (await client.request("DELETE", f"/v1/tokens/{made['id']}"))[0] == 204

    async def is_refused():
        return (await caller.request("POST", "/v1/signals", json={"name": name}))[0] == 401

    await eventually(is_refused)
    assert (await client.request("GET", f"/v1/tokens/{made['id']}"))[0] == 404
    assert (await client.request("DELETE", f"/v1/tokens/{made['id']}"))[0] == 404


async def test_tokens_are_listed_page_by_page_without_their_values(client):
    made = [await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": ["admin"]}) for _ in range(3)]

    page = await client.get(f"/v1/tokens?limit=2&afterId={made[0]['id'] - 1}")

    assert [token["id"] for token in page["items"]] == [made[0]["id"], made[1]["id"]]
    assert page["next"] == str(made[1]["id"])
    assert {token["token"] for token in page["items"]} == {None}


async def test_only_an_administrator_manages_tokens(client):
    every_other = ["signals:throw", "signals:read", "subscriptions:manage", "deliveries:manage", "endpoints:manage"]
    made = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": every_other})
    caller = client.caller(made["token"])

    answers = [
        await caller.request("POST", "/v1/tokens", json={"name": "more", "permissions": ["admin"]}),
        await caller.request("GET", "/v1/tokens"),
        await caller.request("GET", f"/v1/tokens/{made['id']}"),
        await caller.request("DELETE", f"/v1/tokens/{made['id']}"),
    ]

    assert [status for status, _, _ in answers] == [403] * 4


async def test_the_bare_token_is_as_good_as_a_bearer(client, name):
    made = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": ["signals:throw"]})

    for header in (made["token"], f"Bearer {made['token']}", f"bearer   {made['token']} "):
        status, _, _ = await client.caller("").request(
            "POST", "/v1/signals", json={"name": name}, headers={"Authorization": header}
        )
        assert status == 202
