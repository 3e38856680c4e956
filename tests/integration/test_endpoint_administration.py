"""Unleash's administration of signal endpoints and their tokens."""

from __future__ import annotations

import uuid
from base64 import b64encode

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import endpoint, fresh_id, token

ROOT = "/api/admin/signal-endpoints"
ALWAYS = {"id", "name", "enabled", "description", "createdAt", "createdByUserId", "tokens"}
TOKEN_ALWAYS = {"id", "name", "signalEndpointId", "createdAt", "createdByUserId"}


async def put(client, path, document, *, expect=200):
    status, _, body = await client.request("PUT", path, json=document)
    assert status == expect, (status, body)
    return body


async def events_of(client, kind, subject_id):
    """Return the audit events of that type about one endpoint, token or user."""
    events, after = [], "0"
    while after is not None:
        page = await client.get(f"/v1/audit?type={kind}&afterId={after}&limit=1000")
        events += [event for event in page["items"] if event["subjectId"] == subject_id]
        after = page["next"]
    return events


async def test_a_created_endpoint_tells_its_url(client, product):
    name = fresh_id("endpoint")

    status, headers, made = await client.request("POST", ROOT, json={"name": name, "description": "d", "further": 1})

    assert status == 201
    assert headers["Location"] == f"{ROOT}/{made['id']}"
    assert set(made) == ALWAYS | {"url"}
    assert made["url"] == f"{product.url}/api/signal-endpoint/{name}"
    assert (made["enabled"], made["description"], made["tokens"]) == (True, "d", [])
    assert made["createdByUserId"] == 0


async def test_a_list_tells_neither_urls_nor_tokens_values(client):
    made, _ = await endpoint(client)

    listed = (await client.get(ROOT))["signalEndpoints"]

    [found] = [one for one in listed if one["id"] == made["id"]]
    assert set(found) == ALWAYS
    assert [set(one) for one in found["tokens"]] == [TOKEN_ALWAYS]
    tokens = await client.get(f"{ROOT}/{made['id']}/tokens")
    assert tokens == {"signalEndpointTokens": found["tokens"]}


async def test_an_update_replaces_everything_and_moves_the_url(client, product):
    made, value = await endpoint(client, description="before")
    name = fresh_id("endpoint")
    caller = client.caller(value)

    changed = await put(client, f"{ROOT}/{made['id']}", {"name": name})

    assert set(changed) == ALWAYS | {"url"}
    assert changed["url"] == f"{product.url}/api/signal-endpoint/{name}"
    assert (changed["enabled"], changed["description"]) == (True, None)
    assert (changed["id"], changed["createdAt"]) == (made["id"], made["createdAt"])
    assert len(changed["tokens"]) == 1

    async def moved():
        paths = (changed["url"], made["url"])
        return [(await caller.request("POST", path.removeprefix(client.url)))[0] for path in paths] == [200, 404]

    await eventually(moved)


async def test_an_endpoint_is_switched_without_telling_its_url(client):
    made, _ = await endpoint(client)

    for switch, enabled in (("off", False), ("on", True)):
        status, _, switched = await client.request("POST", f"{ROOT}/{made['id']}/{switch}")
        assert (status, set(switched), switched["enabled"]) == (200, ALWAYS, enabled)


async def test_a_deletion_is_answered_200_without_a_body(client):
    made, _ = await endpoint(client)
    [of_it] = (await client.get(f"{ROOT}/{made['id']}/tokens"))["signalEndpointTokens"]

    for path in (f"{ROOT}/{made['id']}/tokens/{of_it['id']}", f"{ROOT}/{made['id']}"):
        status, _, body = await client.request("DELETE", path)
        assert (status, body) == (200, b"")
        status, _, error = await client.request("DELETE", path)
        assert (status, error["name"]) == (404, "NotFoundError")


async def test_a_renamed_token_keeps_its_value(client):
    made, value = await endpoint(client)
    tokens = f"{ROOT}/{made['id']}/tokens"
    second = await client.post(tokens, {"name": "second #2"}, expect=201)
    assert set(second) == TOKEN_ALWAYS | {"token"}
    [first, _] = (await client.get(tokens))["signalEndpointTokens"]

    renamed = await put(client, f"{tokens}/{first['id']}", {"name": "My external app #1"})

    assert renamed == {**first, "name": "My external app #1"}
    assert (await client.caller(value).request("POST", f"/api/signal-endpoint/{made['name']}"))[0] == 200
    error = await put(client, f"{tokens}/{first['id']}", {"name": "second #2"}, expect=409)
    assert error["name"] == "NameExistsError"


async def test_who_created_it_is_told_of_users(client):
    password = "correct horse"
    user = await client.post(
        "/v1/users",
        {"name": fresh_id("user"), "password": password, "permissions": ["endpoints:manage", "signals:throw"]},
    )
    basic = "Basic " + b64encode(f"{user['name']}:{password}".encode()).decode()
    caller = client.caller("")

    _, _, made = await caller.request(
        "POST", ROOT, json={"name": fresh_id("endpoint")}, headers={"Authorization": basic}
    )
    _, _, opener = await caller.request(
        "POST", f"{ROOT}/{made['id']}/tokens", json={"name": "t"}, headers={"Authorization": basic}
    )

    assert (made["createdByUserId"], opener["createdByUserId"]) == (user["id"], user["id"])
    [event] = await events_of(client, "signal-endpoint-created", made["id"])
    assert (event["principal"], event["userId"], event["tokenId"]) == (user["name"], user["id"], None)


async def test_a_name_is_unique_and_safe_in_urls(client):
    made, _ = await endpoint(client)
    other, _ = await endpoint(client)

    for error in (
        await client.post(ROOT, {"name": made["name"]}, expect=409),
        await put(client, f"{ROOT}/{other['id']}", {"name": made["name"]}, expect=409),
    ):
        assert error["name"] == "NameExistsError"
        assert set(error) == {"id", "name", "message", "details"}
        assert uuid.UUID(error["id"])
    for name in ("", "Upper", "a b", "ä", "a/b", "x" * 101, "a\0", "\ud800"):
        error = await client.post(ROOT, {"name": name}, expect=400)
        assert (error["name"], error["details"][0]["path"]) == ("BadDataError", "name")


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({}, "name"),
        ({"name": 1}, "name"),
        ({"name": "a", "enabled": "yes"}, "enabled"),
        ({"name": "a", "description": "x" * 1001}, "description"),
        ({"name": "a", "description": "\0"}, "description"),
        ({"name": "a", "description": "\ud800"}, "description"),
    ],
)
async def test_what_cannot_be_an_endpoint_is_refused_with_what_is_wrong(client, document, path):
    error = await client.post(ROOT, document, expect=400)

    assert (error["name"], error["details"][0]["path"]) == ("BadDataError", path)


@pytest.mark.parametrize("name", ["", "x" * 256, "\0", "\ud800", None])
async def test_what_cannot_name_a_token_is_refused(client, name):
    error = await client.post(f"{ROOT}/1/tokens", {"name": name}, expect=400)

    assert (error["name"], error["details"][0]["path"]) == ("BadDataError", "name")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/vnd.x+json"])
async def test_a_body_of_another_type_is_415(client, content_type):
    headers = {"Content-Type": content_type}
    for method, path in (("POST", ROOT), ("PUT", f"{ROOT}/1"), ("POST", f"{ROOT}/1/tokens")):
        status, _, error = await client.request(method, path, data=b'{"name": "a"}', headers=headers)
        assert (status, error["name"]) == (415, "ContentTypeError")


async def test_a_body_of_no_type_is_415(client):
    status, _, error = await client.request("POST", ROOT, data=b'{"name": "a"}', skip_auto_headers=["Content-Type"])

    assert (status, error["name"]) == (415, "ContentTypeError")


@pytest.mark.parametrize("which", ["none", "0", "-1", "999999999", "9" * 30, "%31x", "1.0"])
async def test_an_id_that_nothing_has_is_404(client, which):
    answers = [
        await client.request("PUT", f"{ROOT}/{which}", json={"name": "a"}),
        await client.request("DELETE", f"{ROOT}/{which}"),
        await client.request("POST", f"{ROOT}/{which}/on"),
        await client.request("GET", f"{ROOT}/{which}/tokens"),
        await client.request("POST", f"{ROOT}/{which}/tokens", json={"name": "a"}),
        await client.request("PUT", f"{ROOT}/1/tokens/{which}", json={"name": "a"}),
        await client.request("DELETE", f"{ROOT}/1/tokens/{which}"),
        await client.request("GET", f"{ROOT}/{which}/signals"),
    ]

    assert [(status, error["name"]) for status, _, error in answers] == [(404, "NotFoundError")] * 8


async def test_a_token_is_found_at_its_own_endpoint_only(client):
    made, _ = await endpoint(client)
    other, _ = await endpoint(client)
    [of_it] = (await client.get(f"{ROOT}/{made['id']}/tokens"))["signalEndpointTokens"]

    assert (await client.request("DELETE", f"{ROOT}/{other['id']}/tokens/{of_it['id']}"))[0] == 404


async def test_nobody_and_a_stranger_are_told_apart(client):
    status, headers, error = await client.caller("").request("GET", ROOT)
    assert (status, error["name"]) == (401, "AuthenticationRequired")
    assert "WWW-Authenticate" in headers

    _, of_an_endpoint = await endpoint(client)
    for stranger in ("sb_wrong", of_an_endpoint):
        status, _, error = await client.caller(stranger).request("GET", ROOT)
        assert (status, error["name"]) == (401, "UnauthorizedError")
        assert error["message"] == "You must log in to use Unleash."


async def test_administration_needs_its_permission(client):
    caller = client.caller(await token(client, "signals:throw", "signals:read"))

    answers = [
        await caller.request("GET", ROOT),
        await caller.request("POST", ROOT, json={"name": "x"}),
        await caller.request("PUT", f"{ROOT}/1", json={"name": "x"}),
        await caller.request("DELETE", f"{ROOT}/1"),
        await caller.request("POST", f"{ROOT}/1/on"),
        await caller.request("GET", f"{ROOT}/1/tokens"),
        await caller.request("POST", f"{ROOT}/1/tokens", json={"name": "x"}),
        await caller.request("PUT", f"{ROOT}/1/tokens/1", json={"name": "x"}),
        await caller.request("DELETE", f"{ROOT}/1/tokens/1"),
        await caller.request("GET", f"{ROOT}/1/signals"),
    ]

    assert [(status, error["name"]) for status, _, error in answers] == [(403, "PermissionError")] * 10


async def test_one_token_too_many_is_refused(client):
    made, _ = await endpoint(client)
    tokens = f"{ROOT}/{made['id']}/tokens"
    for number in range(2, 21):
        await client.post(tokens, {"name": f"{number}"}, expect=201)

    error = await client.post(tokens, {"name": "21"}, expect=400)

    assert error["name"] == "ExceedsLimitError"
    assert error["message"] == (
        "Failed to create signal endpoint token. You can't create more than the established limit of 20."
    )


async def test_every_change_of_an_endpoint_is_audited(client):
    made, value = await endpoint(client, description="d")
    path, name = f"{ROOT}/{made['id']}", fresh_id("endpoint")
    [opener] = (await client.get(f"{path}/tokens"))["signalEndpointTokens"]
    for switch in ("off", "off"):
        await client.request("POST", f"{path}/{switch}")
    await put(client, path, {"name": name})
    await put(client, f"{path}/tokens/{opener['id']}", {"name": "renamed"})
    await client.request("DELETE", path)

    first = {"name": made["name"], "enabled": True, "description": "d"}
    off = {**first, "enabled": False}
    last = {"name": name, "enabled": True, "description": None}
    [created] = await events_of(client, "signal-endpoint-created", made["id"])
    assert (created["before"], created["after"]) == (None, first)
    assert (created["principal"], created["userId"], created["tokenId"]) == ("admin", None, None)
    updated = await events_of(client, "signal-endpoint-updated", made["id"])
    assert [(event["before"], event["after"]) for event in updated] == [(first, off), (off, last)]
    [deleted] = await events_of(client, "signal-endpoint-deleted", made["id"])
    assert (deleted["before"], deleted["after"]) == (last, None)

    was, is_now = ({"name": one, "signalEndpointId": made["id"]} for one in ("first", "renamed"))
    of_token = [
        (event["type"], event["before"], event["after"])
        for kind in ("created", "updated", "deleted")
        for event in await events_of(client, f"signal-endpoint-token-{kind}", opener["id"])
    ]
    assert of_token == [
        ("signal-endpoint-token-created", None, was),
        ("signal-endpoint-token-updated", was, is_now),
        ("signal-endpoint-token-deleted", is_now, None),
    ]
    assert value not in str(await client.get("/v1/audit?limit=1000"))


async def test_changes_of_tokens_and_users_are_audited_without_secrets(client):
    made = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": ["signals:read"]})
    await client.request("DELETE", f"/v1/tokens/{made['id']}")
    user = await client.post("/v1/users", {"name": fresh_id("user"), "password": "correct horse"})
    path = f"/v1/users/{user['id']}"
    await client.request("PATCH", path, json={"password": "another horse"})
    await client.request("DELETE", path)

    of_token = {"name": made["name"], "permissions": ["signals:read"], "names": None, "tenants": None}
    [created] = await events_of(client, "api-token-created", made["id"])
    [revoked] = await events_of(client, "api-token-revoked", made["id"])
    assert (created["before"], created["after"]) == (None, of_token)
    assert (revoked["before"], revoked["after"]) == (of_token, None)
    of_user = {"name": user["name"], "permissions": [], "names": None, "tenants": None, "groups": []}
    [updated] = await events_of(client, "user-updated", user["id"])
    assert (updated["before"], updated["after"]) == (of_user, {**of_user, "passwordChanged": True})
    [deleted] = await events_of(client, "user-deleted", user["id"])
    assert (deleted["before"], deleted["after"]) == (of_user, None)


async def test_the_audit_is_read_page_by_page_by_administrators_only(client):
    await endpoint(client)
    every = (await client.get("/v1/audit?limit=1000"))["items"]

    page = await client.get(f"/v1/audit?limit=1&afterId={every[0]['id']}")

    assert page == {"items": [every[1]], "next": str(every[1]["id"])}
    caller = client.caller(await token(client, "signals:read", "endpoints:manage"))
    assert (await caller.request("GET", "/v1/audit"))[0] == 403
    status, _, problem = await client.request("GET", "/v1/audit?type=signal-thrown")
    assert (status, problem["errors"][0]["pointer"]) == (400, "?type")
