"""Users: made, changed, deleted, and what they may do in every dialect."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from tests.support import commands
from tests.support.eventually import eventually
from tests.support.signing_in import PASSWORD, Caller, create, header
from tests.support.throwing import fresh_id, matched, subscribe


async def test_a_user_is_shown_without_anything_of_its_password(client):
    name = fresh_id("user")
    document = {"name": name, "password": PASSWORD, "permissions": ["signals:throw"], "names": ["a.*"]}
    status, headers, made = await client.request(
        "POST", "/v1/users", json={**document, "tenants": ["t1"], "groups": ["sales"]}
    )

    assert (status, headers["Location"]) == (201, f"/v1/users/{made['id']}")
    assert {key: value for key, value in made.items() if key not in {"id", "createdAt"}} == {
        "name": name,
        "permissions": ["signals:throw"],
        "names": ["a.*"],
        "tenants": ["t1"],
        "queues": None,
        "untenanted": False,
        "groups": ["sales"],
        "createdBy": "admin",
    }
    assert await client.get(f"/v1/users/{made['id']}") == made


async def test_a_name_belongs_to_one_user(client):
    made = await create(client)
    again = {"name": made["name"], "password": PASSWORD}
    assert (await client.request("POST", "/v1/users", json=again))[0] == 409


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"name": "a:b", "password": PASSWORD}, "/name"),
        ({"name": "", "password": PASSWORD}, "/name"),
        ({"name": "a\x00", "password": PASSWORD}, "/name"),
        ({"name": "a"}, "/password"),
        ({"name": "a", "password": "1234567"}, "/password"),
        ({"name": "a", "password": "1234567\x00"}, "/password"),
        ({"name": "a", "password": PASSWORD, "groups": ["a\x00"]}, "/groups/0"),
        ({"name": "a", "password": PASSWORD, "tenants": ["a\x00"]}, "/tenants/0"),
        ({"name": "a", "password": PASSWORD, "permissions": ["everything"]}, "/permissions/0"),
    ],
)
async def test_a_wrong_user_is_refused_with_what_is_wrong(client, document, pointer):
    problem = await client.post("/v1/users", document, expect=400)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert PASSWORD not in json.dumps(problem, ensure_ascii=False)


async def test_users_are_listed_page_by_page(client):
    made = [await create(client) for _ in range(3)]

    page = await client.get(f"/v1/users?limit=2&afterId={made[0]['id'] - 1}")

    assert page == {"items": made[:2], "next": str(made[1]["id"])}


async def test_only_an_administrator_manages_users(client):
    made = await create(
        client, "signals:throw", "signals:read", "subscriptions:manage", "deliveries:manage", "endpoints:manage"
    )
    caller, path = Caller(client, made["name"]), f"/v1/users/{made['id']}"

    answers = [
        await caller.request("POST", "/v1/users", json={"name": "more", "password": PASSWORD}),
        await caller.request("GET", "/v1/users"),
        await caller.request("GET", path),
        await caller.request("PATCH", path, json={"permissions": ["admin"]}),
        await caller.request("DELETE", path),
    ]

    assert [status for status, _, _ in answers] == [403] * 5


async def test_a_user_calls_every_dialect(client, name):
    caller = Caller(client, (await create(client, "signals:throw", "endpoints:manage"))["name"])

    assert await caller.throw(name) == (204, b"")
    assert (await caller.throw(name, "/v1/signals"))[0] == 202
    assert (await caller.request("GET", "/api/admin/signal-endpoints"))[0] == 200


@pytest.mark.slow
async def test_changes_take_effect_in_every_gateway(client, second_url, name):
    made = await create(client, "signals:throw")
    path, other = f"/v1/users/{made['id']}", "another password"
    async with aiohttp.ClientSession() as session:

        async def everywhere(status, password=PASSWORD):
            """Return whether both gateways answer the user with *status*."""
            headers = header(made["name"], password)
            answers = []
            for url in (client.url, second_url):
                async with session.post(f"{url}/signal", json={"name": name}, headers=headers) as response:
                    answers.append(response.status)
            return answers == [status, status]

        await eventually(lambda: everywhere(204))
        assert (await client.request("PATCH", path, json={"permissions": []}))[0] == 200
        await eventually(lambda: everywhere(403))
        changed = {"permissions": ["signals:throw"], "password": other}
        assert (await client.request("PATCH", path, json=changed))[0] == 200
        await eventually(lambda: everywhere(204, other))
        assert (await client.request("DELETE", path))[0] == 204
        await eventually(lambda: everywhere(401, other))

    for method in ("GET", "DELETE"):
        assert (await client.request(method, path))[0] == 404
    assert (await client.request("PATCH", path, json={}))[0] == 404


async def test_a_change_leaves_alone_what_it_does_not_mention(client):
    made = await create(client, "signals:throw", names=["a"], tenants=["t1"], groups=["g"])
    path = f"/v1/users/{made['id']}"

    for change in ({}, {"tenants": None}, {"names": ["b"], "groups": []}, {"permissions": ["admin"]}):
        _, _, made_now = await client.request("PATCH", path, json=change)
        made |= change
        assert made_now == made
    assert (await client.request("PATCH", path, json={"password": "short"}))[0] == 400
    assert (await client.request("PATCH", path, json={"name": "other"}))[0] == 400
    assert (await Caller(client, made["name"]).request("GET", "/v1/users"))[0] == 200


async def test_a_user_of_a_tenant_reaches_it_and_those_without_but_an_administrator_all(client, name):
    mine, other = fresh_id("tenant"), fresh_id("tenant")
    ids = [(await subscribe(client, name, tenantId=tenant))["id"] for tenant in (mine, other, None)]
    user = Caller(client, (await create(client, "signals:throw", tenants=[mine]))["name"])
    admin = Caller(client, (await create(client, "signals:throw", tenants=[], groups=["camunda-admin"]))["name"])

    _, thrown = await user.throw(name, "/v1/signals")
    assert await matched(client, thrown["id"]) == {ids[0], ids[2]}
    _, thrown = await admin.throw(name, "/v1/signals")
    assert await matched(client, thrown["id"]) == set(ids)
    assert (await user.throw(name, tenantId=other))[1]["type"] == "ProcessEngineException"
    assert await admin.throw(name, tenantId=other) == (204, b"")


async def test_a_denied_throw_names_the_execution_that_would_have_received_it(client, name):
    execution, nobody = fresh_id("execution"), await create(client)
    await subscribe(client, name)
    await subscribe(client, name, executionId=execution)
    update = {"permissionName": "UPDATE", "resourceName": "ProcessInstance", "resourceId": execution}
    update_instance = {
        "permissionName": "UPDATE_INSTANCE",
        "resourceName": "ProcessDefinition",
        "resourceId": name,
    }
    expected = {
        "type": "AuthorizationException",
        "message": (
            f"The user with id '{nobody['name']}' does not have one of the following permissions: 'UPDATE' permission"
            f" on resource '{execution}' of type 'ProcessInstance' or 'UPDATE_INSTANCE' permission on resource"
            f" '{name}' of type 'ProcessDefinition'"
        ),
        "code": 0,
        "userId": nobody["name"],
        "permissionName": None,
        "resourceName": None,
        "resourceId": None,
        "missingAuthorizations": [update, update_instance],
    }
    caller = Caller(client, nobody["name"])

    assert await caller.throw(name) == (403, expected)
    assert await caller.throw(name, executionId=execution) == (403, expected)


@pytest.mark.parametrize("subscribed", [True, False])
async def test_a_denied_throw_to_no_execution_lacks_what_starts_processes(client, name, subscribed):
    nobody = (await create(client, "signals:throw", names=["other.#"]))["name"]
    if subscribed:
        await subscribe(client, name)

    assert await Caller(client, nobody).throw(name) == (
        403,
        {
            "type": "AuthorizationException",
            "message": (
                f"The user with id '{nobody}' does not have 'CREATE' permission on resource 'ProcessInstance'."
            ),
            "code": 0,
            "userId": nobody,
            "permissionName": "CREATE",
            "resourceName": "ProcessInstance",
            "resourceId": None,
            "missingAuthorizations": [
                {"permissionName": "CREATE", "resourceName": "ProcessInstance", "resourceId": None}
            ],
        },
    )


async def test_idempotency_keys_of_a_user_and_of_the_administrator_of_the_same_name_do_not_meet(client, name):
    existing = {user["name"]: user for user in (await client.get("/v1/users?limit=1000"))["items"]}
    if "admin" not in existing:
        await create(client, "signals:throw", name="admin")
    keys = {"Idempotency-Key": name}
    _, _, ours = await client.request("POST", "/v1/signals", json={"name": name}, headers=keys)
    status, headers, theirs = await client.caller("").request(
        "POST", "/v1/signals", json={"name": name}, headers={**keys, **header("admin")}
    )

    assert status == 202
    assert "Idempotency-Replayed" not in headers
    assert theirs["id"] != ours["id"]


async def user_create(product, *arguments, password):
    environment = {f"SIGNAL_BROKER_{key}": value for key, value in product.environment.items()}
    done = await asyncio.to_thread(
        commands.run, "user", "create", *arguments, environment=environment, given=password.decode()
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
async def test_a_user_is_made_on_the_command_line(product, client, name):
    user = fresh_id("user")
    spec = ("--permission", "signals:throw", "--name", f"{name}.#", "--tenant", "t1", "--group", "sales", "--json")

    status, output, errors = await user_create(
        product, user, "--password-stdin", *spec, password=f"{PASSWORD}\n".encode()
    )

    assert (status, errors) == (0, "")
    made = json.loads(output)
    assert await client.get(f"/v1/users/{made['id']}") == made
    assert (made["names"], made["tenants"], made["groups"]) == ([f"{name}.#"], ["t1"], ["sales"])
    caller = Caller(client, user)
    assert (await caller.throw(f"{name}.a"))[0] == 204
    assert (await caller.throw("other"))[0] == 403


@pytest.mark.parametrize(
    ("arguments", "password", "said"),
    [
        (("--password-stdin",), b"short\n", "password"),
        ((), b"long enough\n", "--password-stdin"),
        (("--password-stdin", "--permission", "everything"), b"long enough\n", "everything"),
    ],
)
async def test_the_command_line_says_what_is_wrong_with_a_user(product, arguments, password, said):
    status, output, errors = await user_create(product, "demo", *arguments, password=password)

    assert status != 0
    assert output == ""
    assert said in errors.splitlines()[-1]
    assert "Traceback" not in errors
