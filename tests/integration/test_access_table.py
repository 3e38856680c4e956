"""The access table of docs/access.md, carried out: every operation, with all kinds of credentials, on all objects."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from tests.support.access import CASES, EVERY, PASSWORD, World, basic, open_operations, read_table, webhook
from tests.support.sessions import sign_in
from tests.support.throwing import endpoint, fresh_id, token

pytestmark = pytest.mark.slow

ROOT = "/api/admin/signal-endpoints"
ROWS = read_table()
ON = {
    "/v1/signals/{id}": "signal",
    "/v1/subscriptions/{id}": "subscription",
    "/v1/deliveries/{id}": "delivery",
    "/v1/tokens/{id}": "token",
    "/v1/users/{id}": "user",
    "/v1/quotas/tokens/{id}": "quota",
    ROOT + "/{id}": "endpoint",
}
"""Which objects a path is about."""
DOCUMENTS = {
    "PATCH /v1/subscriptions/{id}": lambda _: {"target": webhook()},
    "PATCH /v1/users/{id}": lambda _: {"password": PASSWORD},
    f"PUT {ROOT}/{{id}}": lambda world: {"name": world.endpoint_name("own")},
    f"POST {ROOT}/{{id}}/tokens": lambda _: {"name": fresh_id("token")},
    f"PUT {ROOT}/{{id}}/tokens/{{token}}": lambda _: {"name": fresh_id("token")},
}
CREATIONS = {
    "POST /v1/subscriptions": lambda world, case: {
        "name": world.signal_name(case),
        "tenantId": world.tenant(case),
        "target": webhook(),
    },
    "POST /v1/tokens": lambda world, case: {"name": "t", "permissions": ["admin"], **world.limits(case)},
    "POST /v1/users": lambda world, case: {"name": fresh_id("user"), "password": PASSWORD, **world.limits(case)},
    f"POST {ROOT}": lambda world, case: {"name": world.endpoint_name(case)},
    "POST /v1/signals": lambda world, case: {"name": world.signal_name(case), **world.scope(case)},
    "POST /v1/webhook-keys/rotate": lambda _world, _case: {},
    "GET /v2/topology": lambda _world, _case: None,
}
LISTS = {
    "GET /v1/signals": ("signal", "/v1/signals?name={name}", "items", "id"),
    "GET /v1/subscriptions": ("subscription", "/v1/subscriptions?name={name}", "items", "id"),
    "GET /v1/deliveries": ("delivery", "/v1/deliveries?subscriptionId={subscriptionId}", "items", "id"),
    "GET /v1/tokens": ("token", "/v1/tokens?limit=1000", "items", "id"),
    "GET /v1/users": ("user", "/v1/users?limit=1000", "items", "id"),
    "GET /v1/quotas": ("quota", "/v1/quotas?limit=1000", "items", "id"),
    "GET /v1/events": ("death", "/v1/events?limit=1000", "items", "id"),
    "GET /v1/audit": ("event", "/v1/audit?limit=1000", "items", "id"),
    f"GET {ROOT}": ("endpoint", ROOT, "signalEndpoints", "id"),
    f"GET {ROOT}/{{id}}/signals": ("call", ROOT + "/{id}/signals", "signalEndpointSignals", None),
    "GET /api/admin/signals": ("call", "/api/admin/signals?limit=1000", "signals", "signal"),
    "GET /engine-rest/event-subscription": ("subscription", "{path}?eventName={name}", None, None),
    "GET /engine-rest/event-subscription/count": ("subscription", "{path}?eventName={name}", "count", None),
    "GET /engine-rest/execution/count": ("execution", "{path}?signalEventSubscriptionName={name}", "count", None),
    "GET /engine-rest/execution": ("execution", "{path}?signalEventSubscriptionName={name}", None, None),
}


async def on_object(world, row, case):
    """Send a request about an object."""
    kind = next(kind for path, kind in ON.items() if row.path.startswith(path))
    if row.method == "DELETE" and kind == "signal":
        kind = "scheduled"
    is_changed = row.method != "GET" and kind in {"endpoint", "delivery"}
    made = await world.made(kind + ("!" if row.method == "DELETE" or is_changed else ""), case)
    body = {} if row.method in {"GET", "DELETE"} else {"json": DOCUMENTS.get(row.operation, lambda _: {})(world)}
    status, _, _ = await world.caller(case).request(row.method, row.path.format(**made), **body)
    return str(status)


async def creation(world, row, case):
    """Create something."""
    document = CREATIONS[row.operation](world, case.partition(",")[0])
    body = {} if document is None else {"json": document}
    status, _, _ = await world.caller(case).request(row.method, row.path, **body)
    return str(status)


async def listing(world, row, case):
    """Look for an object in a list."""
    kind, path, member, key = LISTS[row.operation.replace("/engine/{engine}", "")]
    made = await world.made(kind, case)
    here = row.path.replace("{engine}", "default")
    status, _, body = await world.caller(case).request("GET", path.format(**{**made, "path": here}))
    if status != 200:
        return str(status)
    found = body if member is None else body[member]
    is_there = bool(found) if key is None else made[key] in {one["id"] for one in found}
    return "listed" if is_there else "hidden"


async def leasing(world, _row, case):
    made = await world.made("pull", case)
    status, _, _ = await world.caller(case).request("POST", f"/v1/subscriptions/{made['id']}/lease", json={})
    return str(status)


async def lease_token(world, row, case):
    """Do something with a lease of somebody who may do everything."""
    made = await world.made("lease!", case)
    document = {"leaseTokens": [made["leaseToken"]]} | ({"leaseSeconds": 60} if row.path.endswith("extend") else {})
    [result] = (await world.caller(case).post(row.path, document))["results"]
    return "ok" if result["ok"] else "unknown"


async def batch(world, _row, case):
    signal = {"name": world.signal_name(case), **world.scope(case.partition(",")[0])}
    answer = await world.caller(case).post("/v1/signals/batch", {"signals": [signal]})
    return str(answer["results"][0]["status"])


async def event(world, _row, case):
    scope = world.scope(case.partition(",")[0])
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": fresh_id("event"),
        "ce-source": "/tests",
        "ce-type": world.signal_name(case),
    }
    attributes |= {"ce-tenantid": scope["tenantId"]} if scope.get("tenantId") else {}
    status, _, _ = await world.caller(case).request("POST", "/v1/cloudevents", headers=attributes)
    return str(status)


async def explanation(world, _row, case):
    made = await world.made("subscription", case)
    path = f"/v1/signals/explain?afterId={made['id'] - 1}&limit=1"
    answer = await world.caller(case).post(path, {"name": world.signal_name("own")})
    return "listed" if made["id"] in {one["subscriptionId"] for one in answer["matches"]} else "hidden"


async def bulk_change(world, row, case):
    made = await world.made("delivery!", case)
    wanted = {"subscriptionId": made["subscriptionId"], "dryRun": True}
    answer = await world.caller(case).post(row.path, wanted)
    return "listed" if answer["count"] else "hidden"


async def tailing(world, _row, case):
    """Follow from the beginning what the caller may read, until a signal of its own comes that was thrown later."""
    made, caller = await world.made("signal", case), world.caller(case)
    last = await world.made("signal!", "own")
    headers = {"Authorization": f"Bearer {caller.token}", "Last-Event-ID": "0"}
    found = set()
    async with (
        asyncio.timeout(30),
        aiohttp.ClientSession(caller.url, headers=headers) as session,
        session.get("/v1/signals/tail", params={"name": f"{world.name}.#"}) as answer,
    ):
        while last["id"] not in found:
            line = await answer.content.readline()
            if line.startswith(b"id: "):
                found.add(int(line[4:]))
    return "listed" if made["id"] in found else "hidden"


async def quota_of_tenant(world, row, case):
    """Set, show or remove the only quota of a tenant."""
    path = row.path.format(id=world.tenant(case))
    body = {"json": {}} if row.method == "PUT" else {}
    async with world.sole:
        await world.client.request("PUT", path, json={})
        status, _, _ = await world.caller(case).request(row.method, path, **body)
    return str(status)


async def books(world, row, case):
    made = await world.made("subscription", case)
    status, _, _ = await world.caller(case).request("GET", f"{row.path}?subscriptionId={made['id']}")
    return str(status)


async def camundas_throw(world, row, case):
    made = await world.made("subscription", case)
    document = {"name": made["name"], **world.scope(case.partition(",")[0])}
    path = row.path.replace("{engine}", "default")
    status, _, _ = await world.caller(case).request("POST", path, json=document)
    return str(status)


async def camundas_message(world, row, case):
    made = await world.made("subscription!", case)
    document = {"messageName": made["name"], **world.scope(case.partition(",")[0])}
    path = row.path.replace("{engine}", "default")
    status, _, _ = await world.caller(case).request("POST", path, json=document)
    return str(status)


async def camunda8s_message(world, row, case):
    made = await world.made("subscription", case)
    document = {"name": made["name"], "tenantId": world.tenant(case.partition(",")[0])}
    status, _, _ = await world.caller(case).request("POST", row.path, json=document)
    return str(status)


async def camunda8s_throw(world, row, case):
    variant = case.partition(",")[0]
    document = {"signalName": world.signal_name(variant), "tenantId": world.tenant(variant)}
    status, _, _ = await world.caller(case).request("POST", row.path, json=document)
    return str(status)


async def call(world, row, case):
    """Call an endpoint with the token of one's own."""
    own, made = await world.made("endpoint", "own"), await world.made("endpoint", case)
    status, _, _ = await world.client.caller(own["value"]).request("POST", row.path.format(**made))
    return str(status)


async def external_tasks(world, row, case):
    """Fetch an external task."""
    made = await world.made("owed!", case)
    topic = {"topicName": str(made["id"]), "lockDuration": 60_000}
    document = {"workerId": "w", "maxTasks": 1, "topics": [topic]}
    return "listed" if await world.caller(case).post(row.path.replace("{engine}", "default"), document) else "hidden"


async def external_task(world, row, case):
    """Do something with an external task."""
    made = await world.made("lease!", case)
    path = row.path.replace("{engine}", "default").format(id=made["deliveryId"])
    document = {"workerId": "w", "newDuration": 60_000}
    body = {} if row.method == "GET" else {"json": document}
    return str((await world.caller(case).request(row.method, path, **body))[0])


async def external_task_list(world, row, case):
    """Look for an external task in a list, or in a count."""
    made = await world.made("owed!", case)
    topic, path = {"topicName": str(made["id"])}, row.path.replace("{engine}", "default")
    asked = {"params": topic} if row.method == "GET" else {"json": topic}
    status, _, found = await world.caller(case).request(row.method, path, **asked)
    assert status == 200
    return "listed" if (found["count"] if path.endswith("/count") else found) else "hidden"


async def session(world, row, case):
    """Show or end a session that one has oneself."""
    browser = await sign_in(world.client, token=world.caller(case).token)
    return str(await browser.status(row.method, row.path))


SPECIAL = {
    "GET /v1/session": session,
    "DELETE /v1/session": session,
    "POST /v1/subscriptions/{id}/lease": leasing,
    "POST /v1/leases/ack": lease_token,
    "POST /v1/leases/fail": lease_token,
    "POST /v1/leases/return": lease_token,
    "POST /v1/leases/extend": lease_token,
    "POST /v1/signals/batch": batch,
    "POST /v1/cloudevents": event,
    "POST /v1/signals/explain": explanation,
    "POST /v1/deliveries/cancel": bulk_change,
    "POST /v1/deliveries/redrive": bulk_change,
    "GET /v1/signals/tail": tailing,
    "GET /v1/ledger": books,
    "GET /v1/stats": books,
    "PUT /v1/quotas/tenants/{id}": quota_of_tenant,
    "GET /v1/quotas/tenants/{id}": quota_of_tenant,
    "DELETE /v1/quotas/tenants/{id}": quota_of_tenant,
    "POST /signal": camundas_throw,
    **{
        f"POST {base}/external-task/{what}": external_tasks if what == "fetchAndLock" else external_task
        for base in ("/engine-rest", "/engine-rest/engine/{engine}")
        for what in (
            "fetchAndLock",
            *("{id}/" + end for end in ("complete", "failure", "extendLock", "unlock", "bpmnError")),
        )
    },
    **{
        f"{method} {base}/external-task{what}": external_task_list if what in {"", "/count"} else external_task
        for base in ("/engine-rest", "/engine-rest/engine/{engine}")
        for method, what in (
            *(("GET", ""), ("POST", ""), ("GET", "/count"), ("POST", "/count")),
            *(("GET", "/{id}"), ("GET", "/{id}/errorDetails")),
        )
    },
    "POST /engine-rest/signal": camundas_throw,
    "POST /engine-rest/engine/{engine}/signal": camundas_throw,
    "POST /engine-rest/message": camundas_message,
    "POST /engine-rest/engine/{engine}/message": camundas_message,
    "POST /v2/signals/broadcast": camunda8s_throw,
    "POST /v2/messages/correlation": camunda8s_message,
    "POST /v2/messages/publication": camunda8s_message,
    "POST /api/signal-endpoint/{name}": call,
}


def trial_of(row):
    """Return what carries out a row."""
    if row.operation in SPECIAL:
        return SPECIAL[row.operation]
    if row.operation in CREATIONS:
        return creation
    return listing if row.operation.replace("/engine/{engine}", "") in LISTS else on_object


async def gathered(trials):
    """Return the results of *trials*, many of which are under way at a time."""
    at_once = asyncio.Semaphore(16)

    async def one(trial):
        async with at_once:
            return await trial

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(trial)) for trial in trials]
    return [task.result() for task in tasks]


@pytest.fixture
async def operations(client):
    """Return (operation, ways to permit it, none if it needs no credentials) of everything that is described."""
    api = await client.get("/openapi.json")
    return {
        f"{method.upper()} {path}": [tuple(way.get("token", ())) for way in one["security"] if "user" not in way]
        for path, methods in api["paths"].items()
        for method, one in methods.items()
    }


async def test_every_operation_has_its_row_and_needs_the_permissions_that_it_says(operations):
    secured = {operation: ways for operation, ways in operations.items() if ways}
    assert secured == {
        operation: [(one,) for one in row.permissions] if row.needs_one else [row.permissions]
        for operation, row in ROWS.items()
    }
    assert operations.keys() - secured.keys() == open_operations()


async def test_a_limited_caller_does_what_the_table_says_and_nothing_else(client, name):
    world = World(client, name)
    await world.open()
    cases = [(row, case) for row in ROWS.values() for case in CASES if row.outcomes[case] != "-"]

    outcomes = await gathered(trial_of(row)(world, row, case) for row, case in cases)

    found = {(row.operation, case): outcome for (row, case), outcome in zip(cases, outcomes, strict=True)}
    assert found == {(row.operation, case): row.outcomes[case] for row, case in cases}


CAMUNDAS = ("/signal", "/engine-rest")


async def test_nothing_is_done_with_other_credentials_or_without_the_permissions(client):
    made, of_endpoint = await endpoint(client)
    user = await client.post("/v1/users", {"name": fresh_id("user"), "password": PASSWORD})
    strangers = [{}, {"Authorization": "sb_nobody-has-this"}, {"Authorization": f"Bearer {of_endpoint}"}]
    wanting = {
        permission: {"Authorization": await token(client, *(set(EVERY) - {permission}))} for permission in EVERY
    } | {"admin": {"Authorization": await token(client, *EVERY)}}
    blind = {"Authorization": await token(client, "deliveries:manage")}
    anybody = client.caller("")
    cases = []
    for row in ROWS.values():
        if row.path == "/api/signal-endpoint/{name}":
            cases += [(row, headers, 401) for headers in (*strangers[:2], *wanting.values(), basic(user["name"]))]
            continue
        cases += [(row, headers, 401) for headers in strangers]
        if row.permissions:
            lacking = [basic(user["name"])]
            lacking += [blind] if row.needs_one else [wanting[permission] for permission in row.permissions]
            cases += [(row, headers, 403) for headers in lacking]

    async def request(row, headers):
        path = re.sub(r"\{\w+\}", "no-such-id", row.path.replace("{engine}", "default"))
        body = {} if row.method == "GET" else {"json": {"name": made["name"], "messageName": made["name"]}}
        status, _, _ = await anybody.request(row.method, path, headers=headers, **body)
        return status

    statuses = await gathered(request(row, headers) for row, headers, _ in cases)

    wrong = [
        (row.operation, headers, status)
        for (row, headers, expected), status in zip(cases, statuses, strict=True)
        if status != expected
    ]
    assert wrong == []


async def test_camundas_lists_are_empty_without_any_of_the_three_permissions(client, name):
    world = World(client, name)
    await world.open()
    made = await world.made("execution", "own")
    blind = client.caller(await token(client, "deliveries:manage", "endpoints:manage"))
    for operation in LISTS:
        method, path = operation.split()
        if path.startswith("/engine-rest"):
            query = f"eventName={made['name']}&signalEventSubscriptionName={made['name']}"
            _, _, body = await blind.request(method, f"{path}?{query}")
            assert body in ([], {"count": 0})
