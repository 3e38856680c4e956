"""Published clients of Camunda 8, unchanged: camunda-orchestration-sdk in Python and @camunda8/sdk in Node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from camunda_orchestration_sdk import (
    CamundaAsyncClient,
    CamundaClient,
    SignalBroadcastRequest,
    SignalBroadcastRequestVariables,
)
from camunda_orchestration_sdk.errors import BadRequestError, UnexpectedStatus

from tests.support.eventually import eventually
from tests.support.node import NODE, install
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import fresh_id, matched, subscribe

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def user(client):
    """Return the name of a user that is limited to one tenant, and the tenant."""
    name, tenant = fresh_id("user"), fresh_id("tenant")
    document = {"name": name, "password": PASSWORD, "permissions": ["signals:throw"], "tenants": [tenant]}
    await client.post("/v1/users", document, expect=201)
    return name, tenant


@pytest.fixture
def configuration(product, user):
    return {
        "CAMUNDA_REST_ADDRESS": product.url,
        "CAMUNDA_AUTH_STRATEGY": "BASIC",
        "CAMUNDA_BASIC_AUTH_USERNAME": user[0],
        "CAMUNDA_BASIC_AUTH_PASSWORD": PASSWORD,
    }


async def test_the_python_client_broadcasts(client, configuration, user, webhooks, name):
    mine = await subscribe(client, name, webhooks.url("/mine"), tenantId=user[1])
    untenanted = await subscribe(client, name, webhooks.url("/untenanted"))
    variables = SignalBroadcastRequestVariables.from_dict({"policy": 42})

    with CamundaClient(configuration=configuration) as camunda:
        plain = await asyncio.to_thread(
            camunda.broadcast_signal, data=SignalBroadcastRequest(signal_name=name, variables=variables)
        )
        tenant = await asyncio.to_thread(
            camunda.broadcast_signal, data=SignalBroadcastRequest(signal_name=name, tenant_id=user[1])
        )
    async with CamundaAsyncClient(configuration=configuration) as camunda:
        later = await camunda.broadcast_signal(data=SignalBroadcastRequest(signal_name=name))

    assert (plain.tenant_id, tenant.tenant_id, later.tenant_id) == ("<default>", user[1], "<default>")
    assert await matched(client, int(plain.signal_key)) == {untenanted["id"]}
    assert await matched(client, int(tenant.signal_key)) == {mine["id"]}
    assert int(later.signal_key) > int(tenant.signal_key) > int(plain.signal_key)
    await eventually(lambda: any(json.loads(r.body)["payload"] == {"policy": 42} for r in webhooks.requests))


async def test_the_python_client_finds_a_cluster_that_is_well(configuration):
    with CamundaClient(configuration=configuration) as camunda:
        topology = await asyncio.to_thread(camunda.get_topology)
        await asyncio.to_thread(camunda.get_status)

    assert (topology.gateway_version, topology.cluster_size) == ("8.8.0", 1)
    (partition,) = topology.brokers[0].partitions
    assert (partition.role, partition.health) == ("leader", "healthy")


async def test_the_python_client_understands_what_it_is_refused_for(configuration, name):
    with CamundaClient(configuration=configuration) as camunda:
        with pytest.raises(BadRequestError) as refused:
            await asyncio.to_thread(camunda.broadcast_signal, data=SignalBroadcastRequest(signal_name=name + "\n"))
        with pytest.raises(UnexpectedStatus) as forbidden:
            await asyncio.to_thread(
                camunda.broadcast_signal, data=SignalBroadcastRequest(signal_name=name, tenant_id="foreign")
            )

    assert refused.value.parsed.title == "INVALID_ARGUMENT"
    assert forbidden.value.status_code == 403


async def test_the_clients_in_node_broadcast(client, product, user, name):
    mine = await subscribe(client, name, tenantId=user[1])

    said = await broadcast(product, user, {"signalName": name, "variables": {"a": 1}, "tenantId": user[1]})

    assert [answer["name"] for answer in said] == ["rest, token", "rest, user", "cluster, user"]
    assert {answer["tenantId"] for answer in said} == {user[1]}
    for answer in said:
        assert await matched(client, int(answer["signalKey"])) == {mine["id"]}


async def test_the_clients_in_node_name_the_default_tenant_by_themselves(client, product, user, name):
    untenanted = await subscribe(client, name)

    said = await broadcast(product, user, {"signalName": name})

    assert {answer["tenantId"] for answer in said} == {"<default>"}
    for answer in said:
        assert await matched(client, int(answer["signalKey"])) == {untenanted["id"]}


async def test_the_clients_in_node_understand_what_they_are_refused_for(product, user, name):
    said = await broadcast(product, user, {"signalName": name + "\n"})

    assert [answer["status"] for answer in said] == [400, 400, 400]


async def broadcast(product, user, request):
    """Return what the clients in Node made of *request*."""
    directory = await asyncio.to_thread(install, Path(__file__).with_name("node"))
    process = await asyncio.create_subprocess_exec(
        *(NODE, directory / "broadcast.mjs", product.url, user[0], PASSWORD, ADMIN_TOKEN, json.dumps(request)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, problems = await process.communicate()
    assert process.returncode == 0, problems.decode()
    lines = (line for line in out.decode().splitlines() if line.startswith('{"name"'))
    return [json.loads(line) for line in lines]
