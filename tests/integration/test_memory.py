"""Signals of a megabyte, more of them at once than fit into memory, pass through every role."""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from broker.filters import parse_filter
from broker.messages import signal_message
from broker.signals import Throw
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.postgres.database import Database
from broker.subscriptions import SubscriptionSpec
from broker.targets import WebhookTarget
from broker.topology import RECORD, TOPOLOGY
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport
from tests.bench.receiving import receiving
from tests.support.builders import accept
from tests.support.eventually import eventually
from tests.support.product import COMMAND, Process, client_of

pytestmark = pytest.mark.slow

COUNT = 60
TEXT = base64.b64encode(os.urandom(750_000))
FILTER = parse_filter({"number": [{"operator": "NUM_GTE", "value": "0"}]})
CONFIRMED = timedelta(seconds=30)
MOST = 200
"""MiB of a role's resident set; 80 of them are there before it does anything."""


@pytest.fixture
def opened(request, database):
    """Call it for a transport of that kind, and the setting that a process needs for it."""

    @asynccontextmanager
    async def opened(kind):
        if kind == "embedded":
            async with EmbeddedTransport(database) as transport:
                yield transport, {}
        else:
            url = request.getfixturevalue("rabbitmq_url")
            async with RabbitTransport(url) as transport:
                yield transport, {"TRANSPORT_URL": url}

    return opened


@pytest.fixture
async def database(database_url):
    async with Database(database_url, timeout=timedelta(seconds=30)) as database:
        yield database


@pytest.mark.parametrize("kind", ["embedded", "rabbitmq"])
async def test_a_backlog_of_large_signals_needs_no_more_memory_than_a_few_of_them(
    kind, opened, database, subscriptions, tmp_path
):
    """By their count alone a recorder would hold 500 of them, a deliverer 400."""
    later = datetime.now(UTC) + timedelta(seconds=1)
    async with opened(kind) as (transport, setting), receiving() as receiver:
        await transport.declare(TOPOLOGY)
        target = WebhookTarget(url=receiver.url)
        await subscriptions.create(SubscriptionSpec(name="large", targets=(target,), filter=FILTER), secret=None)
        throws = [
            Throw(
                name="large",
                payload=b'{"number":%d,"text":"%b"}' % (number, TEXT if number % 2 else b"small"),
                deliver_at=later if number % 20 == 1 else None,
            )
            for number in range(2 * COUNT)
        ]
        for signal in await accept(database, *throws):
            await transport.publish(signal_message(signal), exchange="", routing_key=RECORD, timeout=CONFIRMED)
        del throws, signal
        environment = {"STORE_URL": database.url, "LOG_LEVEL": "warning", **setting}

        async def is_recorded():
            return (await DeliveryStore(database).ledger()).recorded == 2 * COUNT

        def process(role):
            return Process("worker", role, environment=environment, log=tmp_path / role, command=COMMAND)

        async with process("recorder") as recorder:
            await eventually(is_recorded, within=60)
            assert recorder.peak < MOST
        async with process("scheduler") as scheduler, process("deliverer") as deliverer:
            await eventually(lambda: len(receiver.taken) == 2 * COUNT, within=60)
            assert scheduler.peak < MOST
            assert deliverer.peak < MOST


async def test_callers_that_keep_their_connections_leave_nothing_of_their_signals_in_memory(
    database, rabbitmq_url, tmp_path
):
    """Each answer has a megabyte, too."""
    environment = {"STORE_URL": database.url, "TRANSPORT_URL": rabbitmq_url, "LOG_LEVEL": "warning"}
    document = {"name": "large", "payload": {"text": TEXT.decode()}}
    async with AsyncExitStack() as stack:
        gateway = Process("gateway", environment=environment, log=tmp_path / "gateway", command=COMMAND)
        await stack.enter_async_context(gateway)
        client = await stack.enter_async_context(client_of(gateway.url))
        for _ in range(2):
            answers = [client.request("POST", "/v1/signals", json=document) for _ in range(COUNT)]
            assert {status for status, _, _ in await asyncio.gather(*answers)} == {202}
        assert gateway.peak < MOST
