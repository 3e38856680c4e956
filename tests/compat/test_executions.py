"""``GET /engine-rest/execution``: how clients find the execution to throw a signal to."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import generic_camunda_client
import pytest

from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import fresh_id, subscribe, token

PATH = "/engine-rest/execution"


@pytest.fixture
async def waiting(client, name):
    """Return two executions that wait, one of them a tenant's and twice, and one that waits for another signal."""
    executions, tenant = sorted(fresh_id("execution") for _ in range(3)), fresh_id("tenant")
    await subscribe(client, name, executionId=executions[0], once=True)
    for _ in range(2):
        await subscribe(client, name, executionId=executions[1], tenantId=tenant)
    await subscribe(client, f"{name}.other", executionId=executions[2])
    await subscribe(client, name)
    return executions, tenant


async def ids(client, **query):
    return [row["id"] for row in await client.get(f"{PATH}/?{urlencode(query)}")]


async def test_the_executions_that_wait_for_a_signal_are_found_once_each(client, name, waiting):
    (plain, tenants, _), tenant = waiting

    assert await client.get(f"{PATH}?signalEventSubscriptionName={name}") == [
        {"id": plain, "processInstanceId": plain, "ended": False, "tenantId": None},
        {"id": tenants, "processInstanceId": tenants, "ended": False, "tenantId": tenant},
    ]


async def test_filters_are_and_combined_and_pages_are_of_executions(client, name, waiting):
    (plain, tenants, other), tenant = waiting

    assert await ids(client, processInstanceId=other) == [other]
    assert await ids(client, processInstanceId=other, signalEventSubscriptionName=name) == []
    assert await ids(client, signalEventSubscriptionName=name, tenantIdIn=tenant) == [tenants]
    assert await ids(client, signalEventSubscriptionName=name, withoutTenantId="true") == [plain]
    assert await ids(client, signalEventSubscriptionName=name, maxResults=1) == [plain]
    assert await ids(client, signalEventSubscriptionName=name, firstResult=1, maxResults=5) == [tenants]
    assert await ids(client, signalEventSubscriptionName=name, firstResult=2) == []


async def test_the_executions_that_wait_for_a_message_are_those_that_wait_for_the_signal(client, name, waiting):
    (plain, tenants, _), _ = waiting

    assert await ids(client, messageEventSubscriptionName=name) == [plain, tenants]
    assert await ids(client, messageEventSubscriptionName=name, signalEventSubscriptionName=name) == [plain, tenants]


async def test_executions_are_counted(client, name, waiting):
    _, tenant = waiting

    for path in (f"{PATH}/count", "/engine-rest/engine/default/execution/count"):
        assert await client.get(f"{path}?signalEventSubscriptionName={name}&maxResults=1") == {"count": 2}
        assert await client.get(f"{path}?signalEventSubscriptionName={name}&tenantIdIn={tenant}") == {"count": 1}
        assert await client.get(f"{path}?signalEventSubscriptionName={name}&activityId=x") == {"count": 0}
    status, _, body = await client.request("GET", "/engine-rest/engine/other/execution/count")
    assert (status, body["message"]) == (400, "No process engine available")


@pytest.mark.parametrize(
    "parameter", ["activityId", "processDefinitionKey", "messageEventSubscriptionName", "variables"]
)
async def test_what_no_execution_has_finds_none(client, name, waiting, parameter):
    """Rather than others than were meant: a signal might be thrown to them."""
    assert await ids(client, **{"signalEventSubscriptionName": name, parameter: "x"}) == []


async def test_a_caller_sees_the_executions_of_its_tenants(client, name, waiting):
    (plain, _, _), _ = waiting
    limited = client.caller(await token(client, "signals:throw", tenants=["mine"]))
    blind = client.caller(await token(client, "deliveries:manage"))

    assert await ids(limited, signalEventSubscriptionName=name) == [plain]
    assert await ids(blind, signalEventSubscriptionName=name) == []
    assert (await client.caller("").request("GET", PATH))[0] == 401


async def test_the_generated_client_finds_the_execution_and_signals_it(client, product, name, waiting):
    configuration = generic_camunda_client.Configuration(host=f"{product.url}/engine-rest")
    with generic_camunda_client.ApiClient(configuration, "Authorization", f"Bearer {ADMIN_TOKEN}") as generic:
        executions = generic_camunda_client.ExecutionApi(generic)
        found = await asyncio.to_thread(executions.get_executions, signal_event_subscription_name=name)

    assert [one.id for one in found] == waiting[0][:2]
    await client.post("/engine-rest/signal", {"name": name, "executionId": found[0].id}, expect=204)
