"""Tenants in the Camunda 7 dialect (section F): callers limited to tenants, and callers that are not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from broker.topology import BY_NAME, ROUTED
from broker.transport import Settlement
from tests.support.messaging import bind, declare_queue, take
from tests.support.throwing import fresh_id, matched, recorded_ids, subscribe, throw, token


@dataclass(frozen=True)
class House:
    """Somebody waits in each of two tenants and in none; one execution each."""

    name: str
    t1: str
    t2: str
    ids: dict[int, str]
    executions: dict[str, str]

    def named(self, subscription_ids):
        return {self.ids[subscription_id] for subscription_id in subscription_ids}


@pytest.fixture
async def house(client, name):
    tenants = {"t1": fresh_id("t1"), "t2": fresh_id("t2"), "none": None}
    executions = {sort: fresh_id("execution") for sort in tenants}
    ids = {}
    for sort, tenant in tenants.items():
        waits = await subscribe(client, name, tenantId=tenant, executionId=executions[sort])
        ids[waits["id"]] = sort
    return House(name, tenants["t1"], tenants["t2"], ids, executions)


async def limited(client, *tenants):
    """Return a caller that belongs to *tenants*."""
    return client.caller(await token(client, "signals:throw", tenants=list(tenants)))


async def reached(client, house, count):
    """Return whom the house's signals reached, *count* of them."""
    last = await throw(client, house.name)
    *signals, found = await recorded_ids(client, house.name, count + 1)
    assert found == last["id"]
    return [house.named(await matched(client, signal_id)) for signal_id in signals]


async def signal(caller, house, *, expect=204, **spec):
    return await caller.post("/engine-rest/signal", {"name": house.name, **spec}, expect=expect)


def not_mine(execution):
    message = (
        f"ENGINE-13034 Cannot update the process instance '{execution}' because it belongs to no authenticated tenant."
    )
    return {"type": "ProcessEngineException", "message": message, "code": 0}


async def test_a_caller_without_limits_reaches_whom_it_names(client, house):
    await signal(client, house)
    await signal(client, house, tenantId=house.t1)
    await signal(client, house, withoutTenantId=True)
    await signal(client, house, tenantId=house.t1, withoutTenantId=True)
    await signal(client, house, tenantId="")
    await signal(client, house, executionId=house.executions["t1"])
    await signal(client, house, executionId=house.executions["t1"], withoutTenantId=False)

    assert await reached(client, house, 7) == [
        {"t1", "t2", "none"},
        {"t1"},
        {"none"},
        {"t1"},
        set(),
        {"t1"},
        {"t1"},
    ]


@pytest.mark.parametrize("more", [{"tenantId": "t1"}, {"withoutTenantId": True}, {"tenantId": ""}])
async def test_an_execution_and_a_tenant_exclude_each_other(client, house, more):
    error = await signal(client, house, executionId="whoever", **more, expect=400)

    assert error == {
        "type": "BadUserRequestException",
        "message": "ENGINE-13027 Cannot specify a tenant-id when deliver a signal to a single execution.",
        "code": 0,
    }


async def test_a_broadcast_reaches_the_callers_tenants_and_the_untenanted(client, house):
    await signal(await limited(client, house.t1), house)
    await signal(await limited(client, house.t1, house.t2), house)
    await signal(await limited(client, fresh_id("elsewhere")), house)
    await signal(await limited(client), house)

    assert await reached(client, house, 4) == [{"t1", "none"}, {"t1", "t2", "none"}, {"none"}, {"none"}]


async def test_own_tenant_and_untenanted_are_always_allowed(client, house):
    caller = await limited(client, house.t1)
    await signal(caller, house, tenantId=house.t1)
    await signal(caller, house, withoutTenantId=True)
    await signal(caller, house, executionId=house.executions["t1"])
    await signal(caller, house, executionId=house.executions["none"])

    assert await reached(client, house, 4) == [{"t1"}, {"none"}, {"t1"}, {"none"}]


async def test_a_foreign_tenant_with_subscribers_is_refused_and_reaches_nobody(client, house):
    for caller in (await limited(client, house.t2), await limited(client)):
        error = await signal(caller, house, tenantId=house.t1, expect=500)
        assert error == not_mine(house.executions["t1"])
        error = await signal(caller, house, executionId=house.executions["t1"], expect=500)
        assert error == not_mine(house.executions["t1"])

    assert await reached(client, house, 0) == []


async def test_a_foreign_tenant_without_subscribers_is_204_and_reaches_nobody(client, house):
    await signal(await limited(client, house.t2), house, tenantId=fresh_id("empty"))

    assert await reached(client, house, 0) == []


async def test_event_subscriptions_are_seen_by_tenant(client, house):
    seen = {
        (house.t1,): {house.t1, None},
        (house.t2,): {house.t2, None},
        (house.t1, house.t2): {house.t1, house.t2, None},
        (): {None},
    }
    for tenants, expected in seen.items():
        caller = await limited(client, *tenants)
        rows = await caller.get(f"/engine-rest/event-subscription?eventName={house.name}")
        assert {row["tenantId"] for row in rows} == expected
        count = await caller.get(f"/engine-rest/event-subscription/count?eventName={house.name}")
        assert count == {"count": len(expected)}
    foreign = await (await limited(client, house.t2)).get(
        f"/engine-rest/event-subscription?eventName={house.name}&tenantIdIn={house.t1}"
    )
    assert foreign == []


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_taps_of_other_tenants_never_see_a_limited_callers_signals(client, product, house):
    bindings = {
        "everybody": (BY_NAME, house.name),
        "t1": (ROUTED, f"tenant.{house.t1}.{house.name}"),
        "t2": (ROUTED, f"tenant.{house.t2}.{house.name}"),
        "none": (ROUTED, f"untenanted.{house.name}"),
    }
    async with taps(product, bindings) as seen:
        caller = await limited(client, house.t1)
        await signal(caller, house, businessKey="limited broadcast")
        await signal(caller, house, businessKey="own tenant", tenantId=house.t1)
        await signal(caller, house, businessKey="refused", tenantId=house.t2, expect=500)
        await signal(caller, house, businessKey="execution", executionId=house.executions["t1"])
        await signal(client, house, businessKey="last, to everybody")
        await signal(client, house, businessKey="last", tenantId=house.t1)
        await signal(client, house, businessKey="last", tenantId=house.t2)
        await signal(client, house, businessKey="last", withoutTenantId=True)

        assert await seen("everybody", 1) == ["last, to everybody"]
        assert await seen("t1", 3) == ["limited broadcast", "own tenant", "last"]
        assert await seen("t2", 1) == ["last"]
        assert await seen("none", 2) == ["limited broadcast", "last"]


@asynccontextmanager
async def taps(product, bindings):
    """Yield a function that returns the business keys of the first messages in a tap's queue."""
    async with product.open_transport() as transport:
        queues = {tap: await declare_queue(transport) for tap in bindings}
        for tap, (exchange, routing_key) in bindings.items():
            await bind(transport, exchange, queues[tap], routing_key)

        async def seen(tap, count):
            async with transport.consume(queues[tap], prefetch=count) as inbox:
                messages = await take(inbox, count)
                await inbox.settle(messages, Settlement.ACK)
            return [message.headers["business-key"] for message in messages]

        yield seen
