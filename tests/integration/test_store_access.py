"""A worker whose own way to PostgreSQL is broken leaves its messages to others, who are well."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.test_flow import reach, throw_many
from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.proxy import proxy
from tests.support.receiver import Answer
from tests.support.throwing import subscribe
from tests.support.waiting import logged, throw_recorded

pytestmark = pytest.mark.slow

SIGNALS = 400


def said(event):
    return lambda lines: any(line["event"] == event for line in lines)


@pytest.mark.transports("rabbitmq")
@pytest.mark.parametrize("fault", ["recorder stall", "deliverer cut"])
async def test_a_worker_without_the_store_leaves_its_messages_to_others(client, product, webhooks, name, fault):
    role, fault = fault.split()
    subscription = await subscribe(client, name, webhooks.url("/hook"))
    async with proxy(product.environment["STORE_URL"]) as store:
        worker = product.sibling("worker", role, STORE_URL=store.url)
        async with worker:
            getattr(store, fault)()
            await throw_many(client, name, SIGNALS)
            await logged(worker.log, said("store.lost"))
            await reach(client, subscription, delivered=SIGNALS, within=40)
            store.restore()
            await logged(worker.log, said("store.found"))
            await throw_many(client, name, SIGNALS)
            await reach(client, subscription, delivered=2 * SIGNALS)


@pytest.mark.transports("rabbitmq")
async def test_a_deliverer_without_the_store_keeps_what_its_receivers_have_answered(client, product, webhooks, name):
    over = asyncio.Event()
    subscription = await subscribe(client, name, webhooks.answer("/hook", Answer(until=over)), timeoutSeconds=60)
    async with proxy(product.environment["STORE_URL"]) as store:
        worker = product.sibling("worker", "deliverer", STORE_URL=store.url)
        async with worker:
            await throw_many(client, name, 40)
            await eventually(lambda: len(webhooks.requests) == 40)
            store.cut()
            await logged(worker.log, said("store.lost"))
            over.set()
            store.restore()
            await reach(client, subscription, delivered=40)
    assert len(webhooks.requests) == 40


async def test_an_embedded_product_publishes_nothing_again_because_the_store_was_away(database_url, tmp_path, name):
    """Its queues are in the store, and as safe as what is recorded."""
    async with proxy(database_url) as store:
        environment = {"STORE_URL": store.url, "DATA_DIR": str(tmp_path)}
        process = Process("run", environment=environment, log=tmp_path / "log")
        async with process, client_of(process.url) as client:
            await throw_recorded(client, name)
            store.cut()
            await logged(process.log, said("transport.lost"))
            store.restore()

            async def is_ready():
                return (await client.request("GET", "/readyz"))[0] == 200

            await eventually(is_ready)
            await throw_recorded(client, name)
            assert await process.stop() == 0
        lines = await logged(process.log, said("process.stopped"))
    assert [line["event"] for line in lines if line["event"] == "signals.restoring"] == []
