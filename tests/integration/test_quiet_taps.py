"""While no tap is bound, copies for taps wait for a moment instead of being published: none may be missed for it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from broker import quiet_routes
from broker.messages import signal_message
from broker.signals import Signal, Throw
from broker.taps import Taps
from broker.topology import TOPOLOGY
from broker.transport.rabbitmq import RabbitTransport
from tests.support.eventually import eventually
from tests.support.queues import declare, delete, take
from tests.support.throwing import throw

pytestmark = [pytest.mark.slow, pytest.mark.transports("rabbitmq")]

ROUTES = {
    "broadcast": ({}, "signals.by-name={}"),
    "tenant": ({"tenantId": "acme"}, "signals.routed=tenant.acme.{}"),
}


@asynccontextmanager
async def throws(client, name, **spec):
    """Throw one signal after the other, in four lines, until the block is left; yield the ids that were accepted."""
    ids, stopped = [], False

    async def go_on():
        while not stopped:
            ids.append((await throw(client, name, **spec))["id"])

    lines = [asyncio.create_task(go_on()) for _ in range(4)]
    yield ids
    stopped = True
    await asyncio.gather(*lines)


async def arrived(vhost, tap, ids):
    """Wait until *tap* has got all of *ids*; return the ids that it got, repeats included."""
    got = []

    async def complete():
        (messages,) = await take(vhost, tap)
        got.extend(int(properties.headers["ce-id"]) for _, properties, _ in messages)
        return set(ids) <= set(got)

    await eventually(complete)
    return got


@pytest.fixture
async def transport(rabbitmq_url):
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        yield transport


@pytest.mark.parametrize(
    ("throw", "scheduled"),
    [(Throw(name="a"), False), (Throw(name="a", tenant_id="acme"), True)],
    ids=["broadcast", "scheduled-for-tenant"],
)
async def test_a_copy_that_was_routed_nowhere_is_published_again_once_a_queue_is_bound(
    transport, rabbitmq_url, monkeypatch, throw, scheduled
):
    """It may have been bound before: a RabbitMQ 4 cluster says so before all of its nodes know."""
    monkeypatch.setattr(quiet_routes, "PROBE_EVERY", 1)
    tap = await declare(rabbitmq_url)
    taps = Taps(transport, timeout=timedelta(seconds=5))
    signals = [Signal(id=signal_id, created_at=datetime.now(UTC), throw=throw) for signal_id in (1, 2)]
    if scheduled:
        for signal in signals:
            await taps.publish(signal)
    else:
        copies = [taps.send(signal_message(signal), signal) for signal in signals]
        later = Signal(id=3, created_at=datetime.now(UTC), throw=Throw(name="b", tenant_id=throw.tenant_id))
        await taps.publish(later)  # by the same exchange, after those
        assert taps.waiting >= len(copies)
    await declare(rabbitmq_url, "signals.by-name=a", "signals.routed=tenant.acme.a", queue=tap)
    got = await arrived(rabbitmq_url, tap, [1, 2])
    await taps.close()
    assert sorted(got) == [1, 2]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_queue_that_is_bound_under_load_gets_all_that_is_thrown_from_then_on_once(
    client, product_vhost, name, route
):
    spec, binding = ROUTES[route]
    async with throws(client, name, **spec) as ids:
        await eventually(lambda: len(ids) > 100)
        tap = await declare(product_vhost, binding.format(name))
        before = len(ids) + 4  # that many may have been under way when it was bound
        await eventually(lambda: len(ids) > before + 100)
    got = await arrived(product_vhost, tap, ids[before:])
    await delete(product_vhost, tap)
    assert len(got) == len(set(got))
    assert set(got) <= set(ids)


async def test_it_misses_nothing_when_links_are_lost_right_after(client, product_vhost, rabbitmq, name):
    async with throws(client, name) as ids:
        await eventually(lambda: len(ids) > 100)
        tap = await declare(product_vhost, f"signals.by-name={name}")
        before = len(ids) + 4
        await asyncio.to_thread(rabbitmq.close_connections)
        await eventually(lambda: len(ids) > before + 100)
    await arrived(product_vhost, tap, ids[before:])
    await delete(product_vhost, tap)


async def test_one_that_is_bound_after_a_pause_gets_the_next_signal_at_once(client, product_vhost, name):
    async with throws(client, name) as ids:
        await eventually(lambda: len(ids) > 50)
    tap = await declare(product_vhost, f"signals.by-name={name}")
    last = await throw(client, name)
    got = await arrived(product_vhost, tap, [last["id"]])
    await delete(product_vhost, tap)
    assert len(got) == len(set(got))


async def test_a_tap_of_another_name_changes_nothing_for_a_quiet_one(client, product_vhost, name):
    other = await declare(product_vhost, f"signals.by-name={name}.other")
    async with throws(client, name) as ids, throws(client, f"{name}.other") as theirs:
        await eventually(lambda: len(ids) > 50 and len(theirs) > 50)
    got = await arrived(product_vhost, other, theirs)
    await delete(product_vhost, other)
    assert sorted(got) == sorted(theirs)


async def test_a_broadcast_whose_name_is_another_exchange_s_routing_key_is_on_a_route_of_its_own(
    client, product_vhost, name
):
    tap = await declare(product_vhost, f"signals.routed=tenant.acme.{name}")
    async with throws(client, f"tenant.acme.{name}") as ids, throws(client, name, tenantId="acme") as theirs:
        await eventually(lambda: len(ids) > 100 and len(theirs) > 100)
    got = await arrived(product_vhost, tap, theirs)
    await delete(product_vhost, tap)
    assert sorted(got) == sorted(theirs)
