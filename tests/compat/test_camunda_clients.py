"""Published clients of Camunda 7, unchanged: generic-camunda-client and pycamunda."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import generic_camunda_client
import pycamunda
import pycamunda.signal
import pytest
from generic_camunda_client import ApiException, SignalDto, VariableValueDto
from requests.auth import HTTPBasicAuth

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import fresh_id, subscribe, token

PASSWORD = "correct horse battery staple"  # as long as a password has to be


@pytest.fixture
def generic(product):
    """Return the generated client; `Configuration` has a user, but the client never sends it."""
    configuration = generic_camunda_client.Configuration(host=f"{product.url}/engine-rest")
    with generic_camunda_client.ApiClient(configuration, "Authorization", f"Bearer {ADMIN_TOKEN}") as client:
        yield client


@pytest.fixture
async def user(client):
    """Return the credentials of a user that is limited to one tenant, and the tenant."""
    name, tenant = fresh_id("user"), fresh_id("tenant")
    document = {"name": name, "password": PASSWORD, "permissions": ["signals:throw"], "tenants": [tenant]}
    await client.post("/v1/users", document, expect=201)
    return HTTPBasicAuth(name, PASSWORD), tenant


async def received(webhooks, count=1):
    """Return the variables of each path's webhook, once there are *count*."""
    await eventually(lambda: len(webhooks.requests) >= count)
    return {request.path: json.loads(request.body)["variables"] for request in webhooks.requests}


@pytest.mark.slow
async def test_the_generated_client_reads_the_version(generic):
    api = generic_camunda_client.VersionApi(generic)

    assert (await asyncio.to_thread(api.get_rest_api_version)).version == "7.24.0"


async def test_the_generated_client_throws(client, generic, webhooks, name):
    execution, tenant = fresh_id("execution"), fresh_id("tenant")
    await subscribe(client, name, webhooks.url("/all"))
    await subscribe(client, name, webhooks.url("/execution"), executionId=execution)
    await subscribe(client, name, webhooks.url("/tenant"), tenantId=tenant)
    api = generic_camunda_client.SignalApi(generic)
    variables = {
        "inferred": VariableValueDto(value="x"),
        "typed": VariableValueDto(value=5, type="Long"),
        "file": VariableValueDto(value="aGVsbG8=", type="File", value_info={"filename": "a.txt"}),
    }

    broadcast = SignalDto(name=name, variables=variables, without_tenant_id=False)
    answer = await asyncio.to_thread(api.throw_signal_with_http_info, signal_dto=broadcast)
    await asyncio.to_thread(api.throw_signal, signal_dto=SignalDto(name=name, execution_id=execution))
    await asyncio.to_thread(api.throw_signal, signal_dto=SignalDto(name=name, tenant_id=tenant))
    await asyncio.to_thread(api.throw_signal, signal_dto=SignalDto(name=name, without_tenant_id=True))

    assert answer[:2] == (None, 204)
    await received(webhooks, 7)
    paths = sorted(request.path for request in webhooks.requests)
    assert paths == ["/all"] * 2 + ["/execution"] * 3 + ["/tenant"] * 2
    assert [json.loads(r.body)["variables"] for r in webhooks.requests if json.loads(r.body)["variables"]] == [
        {
            "inferred": {"value": "x", "type": "String", "valueInfo": {}},
            "typed": {"value": 5, "type": "Long", "valueInfo": {}},
            "file": {"value": "aGVsbG8=", "type": "File", "valueInfo": {"filename": "a.txt"}},
        }
    ] * 3


REFUSALS = {
    "no body": (None, 400, "No signal name given"),
    "no name": (SignalDto(), 400, "No signal name given"),
    "a date without milliseconds": (
        SignalDto(name="s", variables={"d": VariableValueDto(value=datetime(2020, 1, 1), type="Date")}),  # noqa: DTZ001
        400,
        "Cannot convert value '2020-01-01T00:00:00' of type 'Date' to java type java.util.Date",
    ),
    "an execution nobody knows": (
        SignalDto(name="s", execution_id="nope"),
        500,
        "Cannot find execution with id 'nope': execution is null",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_the_generated_client_is_refused_as_by_camunda(generic, case):
    document, status, message = REFUSALS[case]
    api = generic_camunda_client.SignalApi(generic)

    with pytest.raises(ApiException) as error:
        await asyncio.to_thread(api.throw_signal, **({} if document is None else {"signal_dto": document}))

    assert (error.value.status, json.loads(error.value.body)["message"]) == (status, message)


async def test_the_generated_client_finds_event_subscriptions(client, generic, name):
    execution, tenant = fresh_id("execution"), fresh_id("tenant")
    made = await subscribe(client, name, executionId=execution, tenantId=tenant)
    await subscribe(client, name)
    api = generic_camunda_client.EventSubscriptionApi(generic)
    filters = {
        "event_subscription_id": str(made["id"]),
        "event_name": name,
        "event_type": "signal",
        "execution_id": execution,
        "process_instance_id": execution,
        "tenant_id_in": f"{tenant},other",
    }
    unlike = {"without_tenant_id": True, "include_event_subscriptions_without_tenant_id": True}
    page = {"sort_by": "created", "sort_order": "asc", "first_result": 0, "max_results": 10}

    (found,) = await asyncio.to_thread(api.get_event_subscriptions, **filters, **page)

    assert (found.id, found.event_name, found.execution_id, found.tenant_id) == (
        str(made["id"]),
        name,
        execution,
        tenant,
    )
    assert found.created_date == datetime.fromisoformat(made["createdAt"][:23] + "+00:00")
    assert (await asyncio.to_thread(api.get_event_subscriptions_count, **filters)).count == 1
    assert (await asyncio.to_thread(api.get_event_subscriptions_count, event_name=name, **unlike)).count == 1
    assert (await asyncio.to_thread(api.get_event_subscriptions_count, event_name=name)).count == 2
    assert await asyncio.to_thread(api.get_event_subscriptions, event_name=name, activity_id="catch") == []


async def test_pycamunda_throws_to_all_and_to_one(client, product, webhooks, user, name):
    credentials, tenant = user
    execution = fresh_id("execution")
    await subscribe(client, name, webhooks.url("/all"))
    await subscribe(client, name, webhooks.url("/mine"), tenantId=tenant)
    await subscribe(client, name, webhooks.url("/theirs"), tenantId=fresh_id("other"))
    await subscribe(client, name, webhooks.url("/execution"), executionId=execution)
    base = f"{product.url}/engine-rest"

    for event in (
        pycamunda.signal.EventAll(url=base, name=name).add_variable("n", 5, type_="Short"),
        pycamunda.signal.EventAll(url=base, name=name, tenant_id=tenant),
        pycamunda.signal.EventAll(url=base, name=name, without_tenant_id=True),
        pycamunda.signal.EventSingle(url=base, name=name, execution_id=execution).add_variable("s", "x"),
    ):
        event.auth = credentials
        await asyncio.to_thread(event)

    await received(webhooks, 7)
    paths = sorted(request.path for request in webhooks.requests)
    assert paths == ["/all"] * 2 + ["/execution"] * 3 + ["/mine"] * 2
    bodies = [json.loads(request.body) for request in webhooks.requests]
    assert {json.dumps(body["variables"]) for body in bodies if body["scope"] == "execution"} == {
        '{"s": {"value": "x", "type": "String", "valueInfo": {}}}'
    }


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (pycamunda.signal.EventAll(url="", name=None), pycamunda.BadRequest),
        (pycamunda.signal.EventAll(url="", name="s").add_variable("v", 1, type_="int"), pycamunda.BadRequest),
        (pycamunda.signal.EventSingle(url="", name="s", execution_id="nope"), pycamunda.NoSuccess),
    ],
)
async def test_pycamunda_is_refused_as_by_camunda(product, user, event, error):
    event._url, event.auth = f"{product.url}/engine-rest/signal", user[0]  # noqa: SLF001

    with pytest.raises(error):
        await asyncio.to_thread(event)


async def test_pycamunda_is_told_that_nobody_knows_it(product):
    event = pycamunda.signal.EventAll(url=f"{product.url}/engine-rest", name="s")
    event.auth = HTTPBasicAuth(fresh_id("nobody"), PASSWORD)

    with pytest.raises(pycamunda.Unauthorized):
        await asyncio.to_thread(event)


async def test_pycamunda_is_told_that_it_may_not(client, product, name):
    event = pycamunda.signal.EventAll(url=f"{product.url}/engine-rest", name=name)
    event.auth = bearer(await token(client, "signals:read"))

    with pytest.raises(pycamunda.Forbidden, match="does not have"):
        await asyncio.to_thread(event)


def bearer(value):
    def authorized(request):
        request.headers["Authorization"] = f"Bearer {value}"
        return request

    return authorized
