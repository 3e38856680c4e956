"""The topics that Camunda 7's workers fetch from: whose tasks they get, in which order, and how soon."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.moments import read_moment
from tests.support.throwing import fresh_id, recorded, throw, token

LOCK = 60_000


@pytest.fixture
def fetch(client):
    """Call it to fetch the tasks of topics; return them."""

    async def fetch(*names, most=10, wait=0, caller=client):
        topics = [{"topicName": name, "lockDuration": LOCK} for name in names]
        body = {"workerId": "w", "maxTasks": most, "asyncResponseTimeout": wait, "topics": topics}
        return await caller.post("/engine-rest/external-task/fetchAndLock", body, expect=200)

    return fetch


@pytest.fixture
def pull(client):
    """Call it to subscribe with a pull target; return the id."""

    async def pull(name, **options):
        document = {"name": name, "target": {"kind": "pull"}, **options}
        return (await client.post("/v1/subscriptions", document, expect=201))["id"]

    return pull


async def owed(client, *names, **options):
    """Throw signals; return their ids once they are owed."""
    ids = [(await throw(client, name, **options))["id"] for name in names]
    for signal_id in ids:
        await recorded(client, signal_id)
    return ids


def signals(tasks):
    return sorted(int(task["id"].partition("-")[0]) for task in tasks)


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_the_limit_of_one_topic_keeps_no_other_back(client, name, pull, fetch):
    limited, other = f"{name}.a", f"{name}.b"
    await pull(limited, maxInFlight=1)
    await pull(other)
    ids = await owed(client, limited, limited, other, other)
    assert signals(await fetch(limited, other, most=1)) == [ids[0]]
    assert signals(await fetch(limited, other)) == ids[2:]


async def test_the_limit_of_one_tenant_keeps_no_other_back(client, name, pull, fetch):
    tenants = [fresh_id("tenant") for _ in range(2)]
    for tenant, limit in zip(tenants, (1, None), strict=True):
        await pull(name, tenantId=tenant, maxInFlight=limit)
    for tenant in tenants:
        await owed(client, name, name, tenantId=tenant)
    assert [task["tenantId"] for task in await fetch(name, most=1)] == [tenants[0]]
    assert [task["tenantId"] for task in await fetch(name)] == [tenants[1]] * 2


async def test_the_oldest_tasks_of_all_topics_come_first(client, name, pull, fetch):
    first, second = f"{name}.a", f"{name}.b"
    await pull(first)
    await pull(second)
    ids = await owed(client, second, first, first, second)
    assert signals(await fetch(first, second, most=2)) == ids[:2]


async def test_a_fetch_that_waits_gets_the_tasks_of_a_subscription_that_is_made_meanwhile(client, name, pull, fetch):
    waiting = asyncio.ensure_future(fetch(name, wait=60_000))
    await pull(f"{name}.other")
    await owed(client, f"{name}.other")
    assert len(await fetch(f"{name}.other")) == 1, "the one that waits has come before"
    await pull(name)
    ids = await owed(client, name)
    assert signals(await waiting) == ids


async def test_fetches_of_one_name_by_callers_of_different_tenants_do_not_wait_for_each_other(
    client, name, pull, fetch
):
    tenants = [fresh_id("tenant") for _ in range(2)]
    callers = [
        client.caller(await token(client, "deliveries:manage", "signals:read", tenants=[tenant])) for tenant in tenants
    ]
    for tenant in tenants:
        await pull(name, tenantId=tenant)
    waiting = [asyncio.ensure_future(fetch(name, wait=60_000, caller=caller)) for caller in callers]
    assert await fetch(name) == []
    await owed(client, name, tenantId=tenants[1])
    assert [task["tenantId"] for task in await waiting[1]] == [tenants[1]]
    await owed(client, name, tenantId=tenants[0])
    assert [task["tenantId"] for task in await waiting[0]] == [tenants[0]]


async def test_a_topic_that_is_a_number_is_a_name_first_and_an_id_if_there_is_none(client, name, pull, fetch):
    subscription_id = await pull(name)
    topic = str(subscription_id)
    [by_id] = await owed(client, name)
    assert signals(await fetch(topic)) == [by_id]
    await pull(topic)
    [_, by_name] = await owed(client, name, topic)
    assert signals(await fetch(topic)) == [by_name]


@pytest.mark.slow
async def test_a_topic_has_the_tasks_of_any_number_of_subscriptions(client, name, pull, fetch):
    """Webhooks of the name do not count either."""
    executions = [f"{name}-{number}" for number in range(105)]
    webhook = {"kind": "webhook", "url": "http://127.0.0.1:9/"}
    for execution in executions[:-1]:
        await pull(name, executionId=execution, target=webhook)
    await pull(name, executionId=executions[-1])
    message = {"messageName": name, "processInstanceId": executions[-1]}
    await client.post("/engine-rest/message", message, expect=204)
    [task] = await fetch(name, wait=60_000)
    assert task["executionId"] == executions[-1]


async def test_a_task_that_was_leased_without_a_worker_is_locked_by_none(client, name, pull):
    subscription_id = await pull(name)
    await owed(client, name)
    [leased] = (await client.post(f"/v1/subscriptions/{subscription_id}/lease", {}))["deliveries"]
    task = leased["deliveryId"]
    path = f"/engine-rest/external-task/{task}/complete"
    status, _, answer = await client.request("POST", path, json={"workerId": "w"})
    assert (status, answer["message"]) == (
        400,
        f"External Task {task} cannot be completed by worker 'w'. It is locked by a caller that gave no worker.",
    )


async def test_a_retry_comes_no_earlier_than_asked_for_if_that_is_in_days(client, name, pull, fetch):
    await pull(name, retry={"schedule": [0]})
    await owed(client, name)
    [task] = await fetch(name)
    path, days = f"/engine-rest/external-task/{task['id']}/failure", 24 * 60 * 60 * 1000
    body = {"workerId": "w", "retries": 1}
    status, _, answer = await client.request("POST", path, json={**body, "retryTimeout": 366 * days})
    assert (status, answer["message"]) == (400, "retryTimeout: must be at most 31536000000 milliseconds")
    await client.post(path, {**body, "retryTimeout": 3 * days}, expect=204)
    delivery = await client.get(f"/v1/deliveries/{task['id']}")
    ended = read_moment(delivery["attempts"][0]["startedAt"])
    assert read_moment(delivery["dueAt"]) >= ended + timedelta(days=3)
