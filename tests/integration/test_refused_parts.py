"""What RabbitMQ refuses for a while is done once it is allowed; until then who needs it is not ready."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from pika.exceptions import ChannelClosedByBroker
from structlog.testing import capture_logs

from broker.errors import Unavailable, Unroutable
from broker.topology import (
    ATTEMPT,
    BROADCAST,
    BY_NAME,
    DELIVERIES,
    LANES,
    RECORD,
    TOPOLOGY,
    app_topology,
    attempt_queue,
)
from broker.transport import Message, check_parts
from broker.transport.rabbitmq import RabbitTransport, keeper
from deploy.cli.messaging_checks import judge_bindings
from tests.support.eventually import eventually
from tests.support.queues import declare, holds
from tests.support.rabbitmq import on_channel
from tests.support.rabbitmq_users import permit, user

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=10)
ALL = (".*", ".*", ".*")


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(keeper, "CHECK_EVERY", 0.1)
    monkeypatch.setattr(keeper, "ASK_AGAIN_EVERY", 0.2)


@pytest.fixture
async def administrator(rabbitmq_url, management):
    """A transport that may do everything; the topology is there, and it mends nothing."""
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        await transport.declare(app_topology("app"))
    async with RabbitTransport(rabbitmq_url, management=management) as transport:
        yield transport


@asynccontextmanager
async def without_bindings(rabbitmq, rabbitmq_url):
    """Yield (a transport that has declared the topology and may make few bindings, a call that allows all)."""
    async with user(rabbitmq, rabbitmq_url, "gateway") as url:
        await permit(rabbitmq, url, ".*", r"(^amq\.default|\.dead)$", ".*")
        async with RabbitTransport(url) as transport:
            await transport.declare(TOPOLOGY)
            await transport.declare(app_topology("app"))
            yield transport, lambda: permit(rabbitmq, url, *ALL)


def publish(transport, exchange, key):
    return transport.publish(Message(body=b"{}"), exchange=exchange, routing_key=key, timeout=SOON)


async def routes(transport, queue):
    """Wait until a delivery is routed to *queue*."""

    async def is_routed():
        try:
            await publish(transport, DELIVERIES, queue)
        except Unroutable:
            return False
        return True

    await eventually(is_routed)


@pytest.mark.parametrize("queue", [ATTEMPT, attempt_queue("app")])
async def test_a_queue_that_is_created_again_gets_the_binding_that_was_refused_before(
    rabbitmq, rabbitmq_url, administrator, queue
):
    async with without_bindings(rabbitmq, rabbitmq_url) as (_, allow):
        await allow()
        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(queue))
        await routes(administrator, queue)


async def test_an_exchange_that_is_created_again_gets_the_binding_that_was_refused_before(
    rabbitmq, rabbitmq_url, administrator
):
    async with without_bindings(rabbitmq, rabbitmq_url) as (_, allow):
        await allow()
        await on_channel(rabbitmq_url, lambda channel: channel.exchange_delete(BY_NAME))

        async def is_bound():
            tap = await declare(rabbitmq_url)
            try:
                await on_channel(rabbitmq_url, lambda channel: channel.queue_bind(tap, BY_NAME, tap))
                await publish(administrator, BROADCAST, tap)
            except Exception:  # noqa: BLE001  (pika has many for a missing exchange)
                return False
            await holds(rabbitmq_url, tap, 1)
            return True

        await eventually(is_bound, every=0.2)


@pytest.mark.usefixtures("often")
async def test_bindings_that_were_refused_are_made_once_they_are_allowed_and_the_log_says_so_once(
    rabbitmq, rabbitmq_url, administrator, monkeypatch
):
    bind, asked = keeper._bind, []  # noqa: SLF001

    async def count(channel, binding):
        asked.append(binding)
        await bind(channel, binding)

    monkeypatch.setattr(keeper, "_bind", count)
    with capture_logs() as logs:
        async with without_bindings(rabbitmq, rabbitmq_url) as (_, allow):
            await administrator.unbind(TOPOLOGY.bindings)
            await eventually(lambda: len(asked) > 50)  # several checks
            await allow()
            await eventually(lambda: _whole(administrator))
    skipped = [log["destination"] for log in logs if log["event"] == "binding.skipped"]
    assert sorted(skipped) == sorted([BY_NAME, RECORD, *LANES, attempt_queue("app")])


async def _whole(administrator):
    return (await judge_bindings(administrator, ["app"], SOON)).level == "ok"


@pytest.mark.usefixtures("often")
async def test_who_needs_a_binding_that_is_missing_and_refused_is_not_ready(rabbitmq, rabbitmq_url, administrator):
    async with without_bindings(rabbitmq, rabbitmq_url) as (transport, allow):
        check_parts(transport, [ATTEMPT, BY_NAME, RECORD])
        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(ATTEMPT))
        await on_channel(rabbitmq_url, lambda channel: channel.exchange_delete(BY_NAME))
        await eventually(lambda: transport.lacks(ATTEMPT) and transport.lacks(BY_NAME))
        await transport.depth(ATTEMPT, timeout=SOON)  # that is there again
        with pytest.raises(Unroutable, match=ATTEMPT):
            check_parts(transport, [ATTEMPT])
        with pytest.raises(Unavailable, match=r"ACCESS_REFUSED.*topology --apply"):
            await transport.declare(TOPOLOGY)
        assert not transport.lacks(RECORD)
        await allow()
        await eventually(lambda: not transport.lacks(ATTEMPT) and not transport.lacks(BY_NAME))
        await routes(administrator, ATTEMPT)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("name", "replace"),
    [
        (ATTEMPT, lambda channel: channel.queue_declare(ATTEMPT, durable=True)),
        (RECORD, lambda channel: channel.queue_declare(RECORD, durable=True, arguments={"x-queue-type": "stream"})),
        (BROADCAST, lambda channel: channel.exchange_declare(BROADCAST, "topic", durable=True)),
        (DELIVERIES, lambda channel: channel.exchange_declare(DELIVERIES, "fanout", durable=True)),
    ],
    ids=["classic", "stream", "topic", "fanout"],
)
async def test_who_needs_a_part_that_was_replaced_by_one_of_another_kind_is_not_ready(rabbitmq_url, name, replace):
    def delete(channel):
        channel.exchange_delete(name)
        channel.queue_delete(name)

    def exchange(channel):
        delete(channel)
        try:
            replace(channel)
        except ChannelClosedByBroker:  # the product was faster
            return False
        return True

    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        await eventually(lambda: on_channel(rabbitmq_url, exchange))
        await eventually(lambda: transport.lacks(name))
        await on_channel(rabbitmq_url, delete)
        await eventually(lambda: not transport.lacks(name))


async def test_the_doctor_names_what_is_missing_or_of_another_kind(rabbitmq_url, administrator):
    def damage(channel):
        channel.queue_unbind(ATTEMPT, DELIVERIES, ATTEMPT)
        channel.exchange_delete(BY_NAME)
        channel.exchange_delete(BROADCAST)
        channel.exchange_declare(BROADCAST, "direct", durable=True)

    assert (await judge_bindings(administrator, ["app"], SOON)).level == "ok"
    await on_channel(rabbitmq_url, damage)
    finding = await judge_bindings(administrator, ["app"], SOON)
    assert finding.level == "fail"
    assert finding.detail.partition(": run")[0].split("; ") == [
        f"the exchange {BROADCAST} is of type direct, not fanout",
        f"the exchange {BY_NAME} is missing",
        f"the binding from {BROADCAST} to {BY_NAME} is missing",
        f"the binding from {DELIVERIES} to {ATTEMPT} is missing",
    ]


async def test_the_doctor_says_that_it_cannot_see_bindings(rabbitmq_url):
    async with RabbitTransport(rabbitmq_url, management="http://127.0.0.1:1") as transport:
        finding = await judge_bindings(transport, [], SOON)
    assert (finding.level, "rabbitmqctl list_bindings" in finding.detail) == ("warn", True)
