"""``POST /v2/signals/broadcast``, as in Camunda 8."""

from __future__ import annotations

import json

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import fresh_id, matched, subscribe, token

PATH = "/v2/signals/broadcast"


@pytest.fixture
async def tenanted(client, name):
    """Return a tenant, and the ids of a subscription of it, and of one without a tenant."""
    tenant = fresh_id("tenant")
    return tenant, (await subscribe(client, name, tenantId=tenant))["id"], (await subscribe(client, name))["id"]


@pytest.mark.slow
async def test_a_named_tenant_is_reached_and_nobody_else(client, name, tenanted):
    tenant, theirs, _ = tenanted

    answer = await client.post(PATH, {"signalName": name, "variables": {"k": "v"}, "tenantId": tenant}, expect=200)

    assert set(answer) == {"signalKey", "tenantId"}
    assert answer["tenantId"] == tenant
    assert await matched(client, int(answer["signalKey"])) == {theirs}


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"tenantId": None}, {"tenantId": "<default>"}])
async def test_the_default_tenant_is_to_be_untenanted(client, name, tenanted, more):
    _, _, untenanted = tenanted

    answer = await client.post(PATH, {"signalName": name, **more}, expect=200)

    assert answer["tenantId"] == "<default>"
    assert await matched(client, int(answer["signalKey"])) == {untenanted}


@pytest.mark.slow
async def test_variables_are_plain_and_carried_untouched(client, webhooks, name):
    await subscribe(client, name, webhooks.url("/"))
    variables = '{"n": 1.50, "list": [1, {"a": null}], "deep": {"value": 1, "type": "Integer"}}'
    body = f'{{"signalName": "{name}", "variables": {variables}}}'.encode()

    status, _, _ = await client.request("POST", PATH, data=body, headers={"Content-Type": "application/json"})

    assert status == 200
    await eventually(lambda: webhooks.requests)
    assert f'"payload":{variables}' in webhooks.requests[0].body.decode()


@pytest.mark.parametrize("variables", [None, {}])
async def test_variables_may_be_missing(client, webhooks, name, variables):
    await subscribe(client, name, webhooks.url("/"))

    await client.post(PATH, {"signalName": name, "variables": variables}, expect=200)

    await eventually(lambda: webhooks.requests)
    assert json.loads(webhooks.requests[0].body)["payload"] == {}


async def test_nobody_subscribed_and_an_empty_name_are_no_errors(client, name):
    await client.post(PATH, {"signalName": name}, expect=200)
    await client.post(PATH, {"signalName": ""}, expect=200)


@pytest.mark.parametrize("document", [{}, {"signalName": None}, {"variables": {}}])
async def test_a_name_is_needed(client, document):
    status, headers, problem = await client.request("POST", PATH, json=document)

    assert (status, headers["Content-Type"]) == (400, "application/problem+json; charset=utf-8")
    assert problem == {
        "type": "about:blank",
        "title": "INVALID_ARGUMENT",
        "status": 400,
        "detail": "No signalName provided.",
        "instance": PATH,
    }


BAD = {
    "an empty tenant": {"signalName": "s", "tenantId": ""},
    "a tenant that cannot be one": {"signalName": "s", "tenantId": "a\nb"},
    "a name that cannot be one": {"signalName": "a\nb"},
}


@pytest.mark.parametrize("case", BAD)
async def test_values_that_the_engine_refuses_are_invalid_arguments(client, case):
    problem = await client.post(PATH, BAD[case], expect=400)

    assert (problem["title"], problem["status"], problem["instance"]) == ("INVALID_ARGUMENT", 400, PATH)
    assert problem["detail"]


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        ({"signalName": "s", "jobKey": "1"}, "Request property [jobKey] cannot be parsed"),
        ({"signalName": "s", "a": 1, "b": 2}, "Request property [a] cannot be parsed"),
        ({"signalName": "s", "variables": [1]}, "Request property [variables] cannot be parsed"),
        ({"signalName": "s", "variables": "{}"}, "Request property [variables] cannot be parsed"),
        ({"signalName": 1}, "Request property [signalName] cannot be parsed"),
        ({"signalName": True}, "Request property [signalName] cannot be parsed"),
        ({"signalName": "s", "tenantId": 1}, "Request property [tenantId] cannot be parsed"),
        ([], "The body must be a JSON object."),
        ("x", "The body must be a JSON object."),
    ],
)
async def test_what_cannot_be_parsed_is_told_as_8_8_does(client, document, detail):
    problem = await client.post(PATH, document, expect=400)

    assert problem == {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": detail, "instance": PATH}


async def test_what_is_not_json_is_refused(client):
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b"", b'{"signalName": undefined}', b"\xff"):
        status, _, problem = await client.request("POST", PATH, data=body, headers=headers)
        assert (status, problem["title"]) == (400, "Bad Request")
    status, _, problem = await client.request("POST", PATH, data=b"{}", headers={"Content-Type": "text/plain"})
    assert (status, problem["title"]) == (415, "Unsupported Media Type")


async def test_a_foreign_tenant_is_forbidden(client, name, tenanted):
    tenant, _, _ = tenanted
    caller = client.caller(await token(client, "signals:throw", tenants=["mine"]))

    problem = await caller.post(PATH, {"signalName": name, "tenantId": tenant}, expect=403)

    assert problem["title"] == "FORBIDDEN"
    assert problem["detail"] == (
        f"Expected to broadcast signal for tenant '{tenant}', but user is not assigned to this tenant."
    )
    await caller.post(PATH, {"signalName": name, "tenantId": "mine"}, expect=200)
    await caller.post(PATH, {"signalName": name}, expect=200)


async def test_a_missing_permission_is_forbidden(client, name):
    caller = client.caller(await token(client, "signals:read"))

    assert (await caller.post(PATH, {"signalName": name}, expect=403))["title"] == "FORBIDDEN"


async def test_a_caller_nobody_knows_is_told_so(client):
    status, headers, problem = await client.caller("").request("POST", PATH, json={"signalName": "s"})

    assert (status, problem["title"]) == (401, "Unauthorized")
    assert headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", PATH, 405, "Method Not Allowed"),
        ("POST", "/v2/signals", 404, "Not Found"),
        ("GET", "/v2/license", 404, "Not Found"),
    ],
)
async def test_other_methods_and_paths_are_refused_in_the_same_form(client, method, path, status, title):
    answered, _, problem = await client.request(method, path)

    assert (answered, problem["title"]) == (status, title)


async def test_a_caller_may_say_that_it_repeats_itself(client, name):
    first = await client.post(PATH, {"signalName": name}, Idempotency_Key=name)

    assert await client.post(PATH, {"signalName": name}, Idempotency_Key=name) == first
    assert (await client.post(PATH, {"signalName": name, "variables": {}}, expect=409, Idempotency_Key=name))[
        "title"
    ] == "CONFLICT"
