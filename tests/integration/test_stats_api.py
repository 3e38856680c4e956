"""Statistics as callers see them, over HTTP and on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import fresh_id, subscribe, throw, token

pytestmark = pytest.mark.transports("embedded", "rabbitmq")

COUNTS = ("accepted", "recorded", "delivered", "dead", "retried")


def sums(statistics):
    return tuple(sum(step[name] for step in statistics["steps"]) for name in COUNTS)


def seen(client, query, wanted):
    """Return what waits until the sums of the steps are the *wanted* ones, and returns the answer."""

    async def ask():
        statistics = await client.get(f"/v1/stats?{query}")
        return statistics if sums(statistics) == wanted else None

    return eventually(ask)


@pytest.mark.slow
async def test_what_became_of_signals(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500), Answer(status=204), Answer(status=500), Answer(status=500))
    retry = {"schedule": [0], "maxAttempts": 2}
    made = await subscribe(client, name, url, retry=retry)
    await throw(client, name)
    await seen(client, f"name={name}", (1, 1, 1, 0, 1))
    await throw(client, name)

    statistics = await seen(client, f"name={name}", (2, 2, 1, 1, 2))
    assert statistics["step"] == 60
    assert statistics["by"] is None
    moments = [datetime.fromisoformat(step["at"]) for step in statistics["steps"]]
    assert moments[0] == datetime.fromisoformat(statistics["since"])
    assert moments[-1] + timedelta(minutes=1) == datetime.fromisoformat(statistics["until"])
    assert len(moments) in {61, 60}
    (latencies,) = [step["latencyMs"] for step in statistics["steps"] if step["delivered"]]
    assert 0 < latencies["p50"] <= latencies["p95"] <= latencies["p99"] < 60_000
    assert all(step["latencyMs"] is None for step in statistics["steps"] if not step["delivered"])
    of_subscription = await seen(client, f"subscriptionId={made['id']}&step=3600", (2, 2, 1, 1, 2))
    assert len(of_subscription["steps"]) in {1, 2}

    one = await client.get(f"/v1/subscriptions/{made['id']}")
    (listed,) = (await client.get(f"/v1/subscriptions?name={name}"))["items"]
    assert one["successRate"] == listed["successRate"] == {"hour": 0.5, "day": 0.5}


@pytest.mark.slow
async def test_splits_are_told_apart_by_their_groups(client, webhooks, name):
    tenant = fresh_id("tenant")
    url = webhooks.answer("/hook", Answer(status=204))
    made = await subscribe(client, f"{name}.#", url, tenantId=tenant)
    for last in ("a", "b", "b"):
        await throw(client, f"{name}.{last}", tenantId=tenant)
    await seen(client, f"tenantId={tenant}", (3, 3, 3, 0, 0))

    of_subscriptions = await client.get(f"/v1/stats?by=subscription&tenantId={tenant}")
    assert {step["subscriptionId"] for step in of_subscriptions["steps"]} == {made["id"]}
    assert sums(of_subscriptions) == (3, 3, 3, 0, 0)
    of_names = await client.get(f"/v1/stats?by=name&tenantId={tenant}&step=3600")
    delivered = {}
    for step in of_names["steps"]:
        delivered[step["name"]] = delivered.get(step["name"], 0) + step["delivered"]
    assert delivered == {f"{name}.a": 1, f"{name}.b": 2}
    of_tenants = await client.get(f"/v1/stats?by=tenant&name={name}.b")
    assert {(step["tenantId"], step["other"]) for step in of_tenants["steps"]} == {(tenant, False)}
    assert "name" not in of_tenants["steps"][0]


@pytest.mark.slow
async def test_a_caller_with_tenants_sees_what_is_theirs(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=204))
    own, other = fresh_id("tenant"), fresh_id("tenant")
    for tenant in (own, other):
        await subscribe(client, name, url, tenantId=tenant)
        await throw(client, name, tenantId=tenant)
    theirs = await subscribe(client, name, url, tenantId=other)
    await seen(client, f"name={name}", (2, 2, 2, 0, 0))

    caller = client.caller(await token(client, "signals:read", tenants=[own]))
    assert sums(await caller.get(f"/v1/stats?name={name}")) == (1, 1, 1, 0, 0)
    assert sums(await caller.get("/v1/stats")) == (1, 1, 1, 0, 0)
    assert sums(await caller.get(f"/v1/stats?tenantId={other}")) == (0, 0, 0, 0, 0)
    assert {step["tenantId"] for step in (await caller.get("/v1/stats?by=tenant"))["steps"]} == {own}
    assert (await caller.request("GET", f"/v1/stats?subscriptionId={theirs['id']}"))[0] == 404
    assert (await client.request("GET", "/v1/stats?subscriptionId=999999999"))[0] == 404
    blind = client.caller(await token(client, "signals:throw"))
    assert (await blind.request("GET", "/v1/stats"))[0] == 403


async def test_a_refusal_names_the_parameter(client):
    since = (datetime.now(UTC) - timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for query, parameter in (("step=90", "step"), (f"since={since}&step=600", "since"), (f"since={since}", "step")):
        status, _, problem = await client.request("GET", f"/v1/stats?{query}")
        assert status == 400
        assert [error["pointer"] for error in problem["errors"]] == [f"?{parameter}"], query


@pytest.mark.slow
async def test_the_command_line_shows_them(client, laptop, webhooks, name):
    await subscribe(client, name, webhooks.answer("/hook", Answer(status=204)))
    await throw(client, name)
    await seen(client, f"name={name}", (1, 1, 1, 0, 0))

    called = await laptop.call("stats", "--name", name)
    title, *rows = called.stdout.splitlines()
    assert title.split() == ["AT", *(count.upper() for count in COUNTS), "P50", "P95", "P99"]
    assert sum(int(row.split()[3]) for row in rows) == 1
    split = await laptop.call("stats", "--name", name, "--by", "subscription", "--step", "3600")
    assert "SUBSCRIPTION ID" in split.stdout
    assert all(len(line) <= 100 for line in called.stdout.splitlines())
    answered = json.loads((await laptop.call("stats", "--name", name, "--json")).stdout)
    assert sums(answered) == (1, 1, 1, 0, 0)
    assert answered["step"] == 300
    assert "?step" in await laptop.refusal("stats", "--step", "90")
