"""What a running transport does about a topology that is incomplete, of another version, or not its to change."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.errors import Unavailable, Unconfirmed, Unroutable
from broker.topology import (
    ATTEMPT,
    BROADCAST,
    BY_NAME,
    DELIVERIES,
    RECORD,
    RETIRED,
    ROUTED,
    TOPOLOGY,
    Topology,
    app_topology,
)
from broker.transport import Message, Settlement
from broker.transport.rabbitmq import RabbitTransport
from deploy.cli.messaging_checks import judge_arguments
from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.queues import declare, holds
from tests.support.rabbitmq import on_channel
from tests.support.rabbitmq_users import user
from tests.support.throwing import delivery, subscribe, throw

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=10)


@pytest.fixture
async def transport(rabbitmq_url):
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        yield transport


def publish(transport, exchange, key, *, mandatory=True):
    return transport.publish(Message(body=b"{}"), exchange=exchange, routing_key=key, timeout=SOON, mandatory=mandatory)


async def test_everything_that_is_deleted_comes_back(transport, rabbitmq_url):
    def destroy(channel):
        for exchange in TOPOLOGY.exchanges:
            channel.exchange_delete(exchange.name)
        for queue in TOPOLOGY.queues:
            channel.queue_delete(queue.name)

    async def is_complete():
        try:
            for queue in TOPOLOGY.queues:
                await transport.depth(queue.name, timeout=SOON)
            for exchange in TOPOLOGY.exchanges:
                await publish(transport, exchange.name, "nobody", mandatory=False)
            await publish(transport, DELIVERIES, ATTEMPT)
        except (Unroutable, Unconfirmed):
            return False
        return True

    for _ in range(2):
        await on_channel(rabbitmq_url, destroy)
        await eventually(is_complete)
        tap = await declare(rabbitmq_url, f"{BY_NAME}=policy.changed")
        await publish(transport, BROADCAST, "policy.changed", mandatory=False)
        await holds(rabbitmq_url, tap, 1)


async def test_a_binding_that_is_removed_comes_back(transport, rabbitmq_url):
    tap = await declare(rabbitmq_url, f"{BY_NAME}=a")
    await on_channel(rabbitmq_url, lambda channel: channel.queue_unbind(ATTEMPT, DELIVERIES, ATTEMPT))
    await on_channel(rabbitmq_url, lambda channel: channel.exchange_unbind(BY_NAME, BROADCAST, ""))

    async def routed():
        try:
            await publish(transport, DELIVERIES, ATTEMPT)
            await publish(transport, BROADCAST, "a")
        except Unroutable:
            return False
        return True

    await eventually(routed)
    await holds(rabbitmq_url, tap, 1)


@pytest.fixture
def unchangeable(rabbitmq):
    """Return a context in which RabbitMQ 3 cannot change bindings, as while a node of its cluster hangs."""

    @contextmanager
    def hold():
        lock = "mnesia:write_lock_table(rabbit_route), Held ! held, receive free -> ok after 60000 -> ok end"
        rabbitmq.ctl(
            "eval",
            f"Held = self(), register(holder, spawn(fun() -> mnesia:transaction(fun() -> {lock} end) end)), "
            "receive held -> ok end.",
        )
        try:
            yield
        finally:
            rabbitmq.ctl("eval", "catch holder ! free.")

    return hold


async def test_while_bindings_cannot_be_changed_a_process_starts_with_those_that_exist(
    rabbitmq_url, transport, unchangeable
):
    with unchangeable():
        async with RabbitTransport(rabbitmq_url, connect_timeout=timedelta(seconds=1)) as starting:
            await starting.declare(TOPOLOGY)
            await publish(starting, DELIVERIES, ATTEMPT)


@pytest.mark.parametrize(
    "topology", [app_topology("app"), Topology(bindings=TOPOLOGY.bindings)], ids=["a new queue", "bindings alone"]
)
async def test_while_bindings_cannot_be_changed_nothing_else_counts_as_declared(
    rabbitmq_url, transport, unchangeable, topology
):
    with unchangeable():
        await cannot_be_declared(rabbitmq_url, topology)


async def test_while_bindings_cannot_be_changed_new_exchanges_and_queues_wait_for_theirs(rabbitmq_url, unchangeable):
    with unchangeable():
        await cannot_be_declared(rabbitmq_url, TOPOLOGY)


async def cannot_be_declared(url, topology):
    options = {"connect_timeout": timedelta(seconds=0.5), "declare_timeout": timedelta(seconds=1.5)}
    async with RabbitTransport(url, **options) as starting:
        with pytest.raises(Unavailable, match="was not declared within"):
            await starting.declare(topology)


async def test_retired_bindings_are_removed_and_do_not_come_back(transport, rabbitmq_url):
    for binding in RETIRED:
        await on_channel(
            rabbitmq_url, lambda channel, b=binding: channel.queue_bind(b.destination, b.source, b.routing_key)
        )
    await publish(transport, ROUTED, "a")
    await holds(rabbitmq_url, RECORD, 1)
    await transport.unbind(RETIRED)
    with pytest.raises(Unroutable):
        await publish(transport, ROUTED, "a")
    with pytest.raises(Unroutable):
        await publish(transport, BROADCAST, "a")


async def test_queues_of_the_version_before_are_used_as_they_are(rabbitmq_url):
    await declare(rabbitmq_url, queue="signals.record.dead", **{"x-delivery-limit": 20})
    async with RabbitTransport(rabbitmq_url) as transport:
        assert await transport.declare(TOPOLOGY) == ["signals.record.dead"]
        assert await transport.declare(TOPOLOGY) == ["signals.record.dead"]


async def test_queues_of_the_version_before_are_replaced_as_the_doctor_says_and_nothing_is_lost(
    rabbitmq_url, database_url, tmp_path, webhooks, name
):
    """Each is deleted while signals are thrown, and wait in it."""
    names = [queue.name for queue in TOPOLOGY.queues]
    environment = {"STORE_URL": database_url, "TRANSPORT_URL": rabbitmq_url, "DATA_DIR": str(tmp_path)}
    async with RabbitTransport(rabbitmq_url) as administrator:
        before = [replace(queue, delivery_limit=20) for queue in TOPOLOGY.queues]
        await administrator.declare(replace(TOPOLOGY, queues=tuple(before)))
    environment |= {"RESCUE_AFTER_SECONDS": "2", "STORE_TIMEOUT_SECONDS": "1"}  # the attempts in a deleted queue
    process = Process("run", environment=environment, log=tmp_path / "log")
    async with RabbitTransport(rabbitmq_url) as administrator, process, client_of(process.url) as client:
        finding = await judge_arguments(administrator)
        assert finding.level == "warn"
        assert all(name in finding.detail for name in [*names, "rabbitmqctl delete_queue", "topology --apply"])
        subscription = await subscribe(client, name, webhooks.url("/hook"))
        accepted = []
        for queue in names:
            accepted += [await throw(client, name) for _ in range(3)]
            await on_channel(rabbitmq_url, lambda channel, queue=queue: channel.queue_delete(queue))
        await administrator.declare(TOPOLOGY)
        for signal in accepted:
            await delivery(client, signal, subscription, "delivered")
        assert (await judge_arguments(administrator)).level == "ok"


async def test_a_user_that_may_configure_nothing_needs_the_topology_of_an_administrator(rabbitmq, rabbitmq_url):
    async with user(rabbitmq, rabbitmq_url, "gateway") as url, RabbitTransport(url) as transport:
        with pytest.raises(Unavailable, match=r"ACCESS_REFUSED.*signals\.broadcast.*topology --apply"):
            await transport.declare(TOPOLOGY)


@pytest.mark.parametrize("role", ["gateway", "recorder", "deliverer", "scheduler"])
async def test_each_role_runs_with_the_rights_that_the_runbook_names(rabbitmq, rabbitmq_url, transport, role):
    uses = {
        "gateway": ([("", RECORD), (BROADCAST, "a"), (ROUTED, "a")], []),
        "recorder": ([(DELIVERIES, ATTEMPT)], [RECORD]),
        "deliverer": ([(DELIVERIES, ATTEMPT), ("", "orders")], [ATTEMPT, "deliveries.attempt.slow"]),
        "scheduler": ([(DELIVERIES, ATTEMPT), (BROADCAST, "a")], []),
    }
    await declare(rabbitmq_url, queue="orders")
    published, consumed = uses[role]
    async with user(rabbitmq, rabbitmq_url, role) as url, RabbitTransport(url) as limited:
        await limited.declare(TOPOLOGY)
        for exchange, key in published:
            await publish(limited, exchange, key, mandatory=exchange in {"", DELIVERIES})
        assert await limited.depth(RECORD, timeout=SOON) >= 0
        for queue in consumed:
            await publish(transport, "", queue)
            async with limited.consume(queue, prefetch=1) as inbox:
                await inbox.settle(await inbox.receive(1), Settlement.ACK)


async def test_a_worker_of_handlers_declares_the_queues_of_its_app(rabbitmq, rabbitmq_url, transport):
    async with user(rabbitmq, rabbitmq_url, "handlers") as url, RabbitTransport(url) as limited:
        await limited.declare(TOPOLOGY)
        await limited.declare(app_topology("billing"))
        await publish(limited, DELIVERIES, "deliveries.attempt.handlers.billing")
