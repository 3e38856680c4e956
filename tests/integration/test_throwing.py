"""Throwing: whom a signal reaches, and what the caller is told."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import delivery, fresh_id, matched, recorded, subscribe, throw, token


@pytest.fixture
async def subscribed(client, name):
    """Return the ids of one subscription of each sort, by what they are called below."""
    ids = {sort: fresh_id(sort) for sort in ("acme", "globex", "waiting")}
    made = {
        "plain": await subscribe(client, name),
        "pattern": await subscribe(client, name.replace("test.", "*.")),
        "acme": await subscribe(client, name, tenantId=ids["acme"]),
        "globex": await subscribe(client, name, tenantId=ids["globex"]),
        "waiting": await subscribe(client, name, executionId=ids["waiting"]),
        "other name": await subscribe(client, f"{name}.other"),
    }
    return ids, {subscription["id"]: sort for sort, subscription in made.items()}


SCOPES = {
    "broadcast": ({}, {"plain", "pattern", "acme", "globex", "waiting"}),
    "tenant": ({"tenantId": "acme"}, {"acme"}),
    "untenanted": ({"withoutTenantId": True}, {"plain", "pattern", "waiting"}),
    "execution": ({"executionId": "waiting"}, {"waiting"}),
}


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
@pytest.mark.parametrize("scope", SCOPES)
async def test_a_signal_reaches_exactly_the_subscriptions_of_its_scope(client, name, subscribed, scope):
    ids, sorts = subscribed
    spec, expected = SCOPES[scope]

    signal = await throw(client, name, **{key: ids.get(value, value) for key, value in spec.items()})

    assert signal["scope"] == scope
    assert {sorts[found] for found in await matched(client, signal["id"])} == expected


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_broadcast_by_a_limited_principal_reaches_its_tenants_and_the_untenanted(client, name, subscribed):
    ids, sorts = subscribed
    limited = client.caller(await token(client, "signals:throw", tenants=[ids["acme"]]))

    signal = await throw(limited, name)

    assert signal["scope"] == "broadcast"
    assert {sorts[found] for found in await matched(client, signal["id"])} == {"plain", "pattern", "acme", "waiting"}


async def test_a_limited_principal_cannot_name_another_tenant(client, name):
    limited = client.caller(await token(client, "signals:throw", tenants=["acme"]))

    problem = await limited.post("/v1/signals", {"name": name, "tenantId": "globex"}, expect=403)

    assert problem["title"] == "Forbidden"


async def test_a_principal_limited_to_names_cannot_throw_others(client, name):
    limited = client.caller(await token(client, "signals:throw", names=[f"{name}.#"]))

    await limited.post("/v1/signals", {"name": f"{name}.deep.down"}, expect=202)
    await limited.post("/v1/signals", {"name": f"other.{name}"}, expect=403)


@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_throw_is_answered_with_the_signal_and_where_to_find_it(client, name):
    status, headers, body = await client.request(
        "POST", "/v1/signals", json={"name": name, "payload": {"policy": 42}, "businessKey": "order 7"}
    )

    assert status == 202
    assert headers["Location"] == f"/v1/signals/{body['id']}"
    assert body["createdAt"]
    assert {key: body[key] for key in body if key not in {"id", "createdAt"}} == {
        "name": name,
        "scope": "broadcast",
        "tenantId": None,
        "executionId": None,
        "businessKey": "order 7",
        "payload": {"policy": 42},
        "variables": {"policy": {"value": 42, "type": "Integer", "valueInfo": {}}},
        "source": "native",
        "sourceId": None,
        "orderingKey": None,
        "deliverAt": None,
        "expiresAt": None,
        "hops": 0,
        "state": "accepted",
    }
    assert await recorded(client, body["id"]) == {**body, "state": "recorded"}


async def test_a_throw_to_an_execution_nobody_waits_in_is_accepted_and_reaches_nobody(client, name):
    await subscribe(client, name)

    signal = await throw(client, name, executionId=fresh_id("nobody"))

    assert await matched(client, signal["id"]) == set()


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_fifty_signals_at_once_consume_a_once_subscription_exactly_once(client, webhooks, name):
    once = await subscribe(client, name, webhooks.url("/once"), once=True)
    always = await subscribe(client, name, webhooks.url("/always"))

    signals = await asyncio.gather(*(throw(client, name) for _ in range(50)))

    await eventually(lambda: sum(request.path == "/always" for request in webhooks.requests) == 50)
    page = await client.get(f"/v1/deliveries?subscriptionId={once['id']}")
    consumer = (await client.get(f"/v1/subscriptions/{once['id']}"))["consumedBy"]
    assert [owed["signalId"] for owed in page["items"]] == [consumer]
    assert consumer in {signal["id"] for signal in signals}
    await delivery(client, {"id": consumer}, once, "delivered")
    assert sum(request.path == "/once" for request in webhooks.requests) == 1
    assert len(await matched(client, max(signal["id"] for signal in signals))) == 1 + (
        consumer == max(signal["id"] for signal in signals)
    )
    assert always["consumedBy"] is None


async def test_a_consumed_subscription_gets_nothing_more(client, name):
    once = await subscribe(client, name, once=True)
    first = await throw(client, name)
    assert await matched(client, first["id"]) == {once["id"]}

    assert await matched(client, (await throw(client, name))["id"]) == set()


@pytest.mark.parametrize("path", ["/engine-rest/signal", "/signal", "/engine-rest/engine/default/signal"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_camundas_paths_throw_and_answer_204_without_a_body(client, name, path, slash):
    subscription = await subscribe(client, name)
    document = {"name": name, "variables": {"n": {"value": 5, "type": "Long"}}}

    status, headers, body = await client.request("POST", path + slash, json=document)

    assert (status, body, headers.get("Content-Type")) == (204, b"", None)
    page = await eventually(lambda: items(client, f"/v1/signals?name={name}"))
    assert [(signal["source"], signal["payload"], signal["variables"]) for signal in page] == [
        ("camunda", {"n": 5}, {"n": {"value": 5, "type": "Long", "valueInfo": {}}})
    ]
    assert await matched(client, page[0]["id"]) == {subscription["id"]}


async def items(client, path):
    return (await client.get(path))["items"]


CAMUNDA_REFUSALS = {
    "no name": ({}, 400, "InvalidRequestException"),
    "a name that is a list": ({"name": []}, 400, "InvalidRequestException"),
    "an unknown type": ({"name": "s", "variables": {"a": {"value": 1, "type": "int"}}}, 400, "RestException"),
    "a value of another type": (
        {"name": "s", "variables": {"a": {"value": "x", "type": "Integer"}}},
        400,
        "InvalidRequestException",
    ),
    "a tenant and an execution": ({"name": "s", "executionId": "e", "tenantId": "t"}, 400, "BadUserRequestException"),
    "an execution nobody knows": ({"name": "s", "executionId": "nope"}, 500, "NullValueException"),
}


@pytest.mark.parametrize("case", CAMUNDA_REFUSALS)
async def test_what_camunda_refuses_is_refused_in_camundas_words(client, case):
    document, status, type_ = CAMUNDA_REFUSALS[case]

    error = await client.post("/engine-rest/signal", document, expect=status)

    assert set(error) == {"type", "message", "code"}
    assert error["type"] == type_


async def test_an_execution_that_waits_for_another_signal_is_camundas_500(client, name):
    execution = fresh_id("waiting")
    await subscribe(client, name, executionId=execution)

    error = await client.post("/engine-rest/signal", {"name": "other", "executionId": execution}, expect=500)

    assert error["type"] == "RestException"
    assert (await client.request("POST", "/signal", json={"name": name, "executionId": execution}))[0] == 204


async def test_camundas_engine_must_be_the_default_one(client):
    error = await client.post("/engine-rest/engine/nope/signal", {"name": "s"}, expect=400)

    assert error == {"type": "InvalidRequestException", "message": "No process engine available", "code": None}


async def test_a_foreign_tenant_is_camundas_500_only_if_somebody_would_receive_it(client, name):
    foreign = fresh_id("globex")
    limited = client.caller(await token(client, "signals:throw", tenants=["acme"]))

    status, _, _ = await limited.request("POST", "/signal", json={"name": name, "tenantId": foreign})
    assert status == 204

    await subscribe(client, name, tenantId=foreign)
    error = await limited.post("/signal", {"name": name, "tenantId": foreign}, expect=500)
    assert error["type"] == "ProcessEngineException"


@pytest.mark.parametrize(
    "credentials", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic ZGVtbzpkZW1v"}]
)
async def test_camundas_401_has_a_challenge_and_no_body(client, credentials):
    status, headers, body = await client.caller("").request("POST", "/engine-rest/signal", json={}, headers=credentials)

    assert (status, body) == (401, b"")
    assert headers["WWW-Authenticate"].startswith("Basic ")


async def test_a_missing_permission_is_camundas_403(client, name):
    reader = client.caller(await token(client, "signals:read"))

    error = await reader.post("/engine-rest/signal", {"name": name}, expect=403)

    assert error["type"] == "AuthorizationException"
    assert error["missingAuthorizations"] == [
        {"permissionName": "CREATE", "resourceName": "ProcessInstance", "resourceId": None}
    ]
