"""What was accepted survives the loss of the record queue, which takes along what it holds: nothing answered is lost.

Recorders stand still in these tests, so that the queue holds everything when it goes.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from yarl import URL

from broker import publishing
from broker.errors import Nacked, TransportError, Unroutable
from broker.losses import announce_losses, consume_anew_after_losses, listen_for_losses
from broker.messages import decode_signal
from broker.operations.intake import open_intake
from broker.publishing import SignalPublisher
from broker.settings import Settings
from broker.signals import Scope, Signal, Source, Throw
from broker.topology import ATTEMPT, BROADCAST, RECORD, TOPOLOGY
from broker.transport import Message, Settlement
from broker.transport.rabbitmq import RabbitTransport
from tests.support.eventually import eventually
from tests.support.queues import declare, take
from tests.support.rabbitmq import on_channel

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=10)
TAP = "tap"


def make_signal(number):
    throw = Throw(name="policy.changed", payload=b"{}", scope=Scope.BROADCAST, source=Source.NATIVE)
    return Signal(id=number, created_at=datetime.now(UTC), throw=throw)


class Load:
    """Throws one signal after the other, several at a time, and keeps the ids of those that were accepted."""

    def __init__(self, publisher):
        self._publisher = publisher
        self._ids = iter(range(1, 1_000_000))
        self.accepted = []
        self.refused = []

    async def throw(self):
        signal = make_signal(next(self._ids))
        try:
            await self._publisher.publish(signal)
        except TransportError:
            self.refused.append(signal.id)
        else:
            self.accepted.append(signal.id)

    async def run(self):
        while True:
            await self.throw()

    async def goes_on(self, count=100):
        """Wait until *count* more were accepted."""
        end = len(self.accepted) + count
        await eventually(lambda: len(self.accepted) >= end)


@asynccontextmanager
async def load(url, *, many=10, tapped=True):
    """Yield a load; when the context is left it has ended."""
    async with RabbitTransport(url) as transport:
        await transport.declare(TOPOLOGY)
        if tapped:
            await declare(url, f"{BROADCAST}=", queue=TAP)
        async with SignalPublisher(transport, timeout=SOON) as publisher:
            load = Load(publisher)
            throwing = [asyncio.create_task(load.run()) for _ in range(many)]
            try:
                yield load
            finally:
                for task in throwing:
                    task.cancel()
                await asyncio.gather(*throwing, return_exceptions=True)


async def recorded(url, count):
    """Return the ids in the record queue, of which there are at least *count* different ones."""
    ids = set()
    async with RabbitTransport(url) as transport, transport.consume(RECORD, prefetch=500) as inbox:
        async with asyncio.timeout(30):
            while len(ids) < count:
                messages = await inbox.receive(500)
                ids |= {decode_signal(message).id for message in messages}
                await inbox.settle(messages, Settlement.ACK)
    return ids


@pytest.mark.parametrize("tapped", [True, False], ids=["tapped", "untapped"])
async def test_a_record_queue_deleted_under_load_loses_nothing_that_was_accepted(rabbitmq_url, tapped):
    async with load(rabbitmq_url, tapped=tapped) as running:
        for _ in range(3):
            await running.goes_on()
            await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(RECORD))
        await running.goes_on()
    assert running.refused == []
    assert await recorded(rabbitmq_url, len(running.accepted)) >= set(running.accepted)


async def test_a_record_queue_that_is_unbound_from_everything_still_gets_what_is_accepted(rabbitmq_url):
    async with load(rabbitmq_url) as running:
        await on_channel(rabbitmq_url, lambda channel: channel.queue_unbind(RECORD, BROADCAST, ""))
        await running.goes_on()
    assert await recorded(rabbitmq_url, len(running.accepted)) >= set(running.accepted)


async def test_what_is_to_be_published_again_does_not_age_while_the_queue_is_missing(rabbitmq_url, monkeypatch):
    """An administrator may have to create the queue again, which takes longer than a signal is kept."""
    async with RabbitTransport(rabbitmq_url) as administrator:
        await administrator.declare(TOPOLOGY)
    async with RabbitTransport(rabbitmq_url) as transport, SignalPublisher(transport, timeout=SOON) as publisher:
        load = Load(publisher)
        for _ in range(3):
            await load.throw()
        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(RECORD))
        publisher.restore()
        monkeypatch.setattr(publishing, "RECENT_SECONDS", 0.0)
        with pytest.raises(Unroutable):
            await transport.publish(Message(body=b"{}"), exchange="", routing_key=RECORD, timeout=SOON)
        async with RabbitTransport(rabbitmq_url) as administrator:
            await administrator.declare(TOPOLOGY)
            assert await recorded(rabbitmq_url, 3) == {1, 2, 3}


async def test_a_gateway_that_ends_first_publishes_again_what_the_queue_may_have_lost(rabbitmq_url):
    async def declare_topology():
        async with RabbitTransport(rabbitmq_url) as administrator:
            await administrator.declare(TOPOLOGY)

    await declare_topology()
    async with RabbitTransport(rabbitmq_url) as transport:
        async with SignalPublisher(transport, timeout=SOON) as publisher:
            load = Load(publisher)
            for _ in range(3):
                await load.throw()
            await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(RECORD))
            publisher.restore()
            declaring = asyncio.create_task(declare_topology())  # runs once the publisher waits
        await declaring
        assert await recorded(rabbitmq_url, 3) == {1, 2, 3}


async def test_while_the_record_queue_cannot_come_back_nothing_is_accepted(rabbitmq_url):
    """Another one of its name is in its place, without a word of ours."""
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        async with SignalPublisher(transport, timeout=timedelta(seconds=1)) as publisher:
            running = Load(publisher)
            await running.throw()
            full = {"x-max-length": 0, "x-overflow": "reject-publish"}

            def replace(channel):
                channel.queue_delete(RECORD)
                channel.queue_declare(RECORD, durable=True, arguments=full)

            await on_channel(rabbitmq_url, replace)
            await running.throw()
            assert (running.accepted, running.refused) == ([1], [2])


async def test_what_numbering_took_is_not_waited_for_again(rabbitmq_url):
    """Or a throw would be answered after ten seconds, when its caller is gone."""
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    async with RabbitTransport(rabbitmq_url) as transport:
        await on_channel(rabbitmq_url, lambda channel: channel.queue_declare(RECORD, durable=True, arguments=full))
        async with SignalPublisher(transport, timeout=timedelta(seconds=30)) as publisher:
            async with asyncio.timeout(10):
                with pytest.raises(Nacked):
                    await publisher.publish(make_signal(1), spent=29)


async def test_the_time_of_a_throw_begins_before_it_is_numbered(rabbitmq_url, database, monkeypatch):
    seconds = []

    async def publish(_, __, *, spent):
        seconds.append(spent)

    monkeypatch.setattr(SignalPublisher, "publish", publish)
    async with RabbitTransport(rabbitmq_url) as transport, open_intake(database, transport, Settings()) as intake:
        await intake.accept(Throw(name="policy.changed"), check=lambda _: time.sleep(0.05))
    assert seconds[0] >= 0.05


async def test_a_signal_makes_every_link_known_to_the_record_queue(rabbitmq_url):
    """Its recorder drops the repeat by which it does."""
    port = URL(rabbitmq_url).port
    two_hosts = rabbitmq_url.replace(f":{port}/", f":{port},localhost:{port}/")
    async with RabbitTransport(two_hosts) as transport:
        await transport.declare(TOPOLOGY)
        async with SignalPublisher(transport, timeout=SOON) as publisher:
            published = itertools.count(1)

            async def one_comes_twice():
                await publisher.publish(make_signal(number := next(published)))
                return await transport.depth(RECORD, timeout=SOON) > number

            await eventually(one_comes_twice)


async def test_a_record_queue_that_somebody_makes_again_at_once_loses_nothing_that_was_accepted(rabbitmq_url):
    """RabbitMQ tells neither publishers nor consumers."""
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        async with SignalPublisher(transport, timeout=SOON) as publisher:
            running = Load(publisher)
            for _ in range(20):
                await running.throw()
            arguments = {queue.name: queue.arguments for queue in TOPOLOGY.queues}[RECORD]

            def replace(channel):
                channel.queue_delete(RECORD)
                channel.queue_declare(RECORD, durable=True, arguments=arguments)

            await on_channel(rabbitmq_url, replace)
            await running.throw()
            assert (len(running.accepted), running.refused) == (21, [])
            assert await recorded(rabbitmq_url, 21) == set(running.accepted)


async def test_a_process_that_finds_the_record_queue_missing_tells_the_gateways(database, rabbitmq_url):
    told = []
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        announce_losses(transport, database, [RECORD, ATTEMPT])
        listen_for_losses(database, lambda: told.append(1))
        await eventually(lambda: len(told) == 1)  # it has begun to listen
        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(ATTEMPT))
        await eventually(lambda: not transport.lacks(ATTEMPT))
        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(RECORD))
        await eventually(lambda: len(told) > 1)


@pytest.mark.parametrize("queue", [RECORD, ATTEMPT])
async def test_who_consumes_a_queue_that_another_process_found_missing_begins_again(database, rabbitmq_url, queue):
    """It may not notice that it is another queue now, and RabbitMQ neither."""
    async with RabbitTransport(rabbitmq_url) as finder, RabbitTransport(rabbitmq_url) as other:
        await finder.declare(TOPOLOGY)
        announce_losses(finder, database, [RECORD, ATTEMPT])
        consume_anew_after_losses(database, other)
        await finder.publish(Message(body=b"1"), exchange="", routing_key=queue, timeout=SOON)
        async with other.consume(queue, prefetch=10) as inbox:
            [before] = await inbox.receive(1)
            receiving = asyncio.create_task(inbox.receive(1))

            def comes_again():
                finder._found_missing(queue)  # noqa: SLF001
                return receiving.done()

            await eventually(comes_again, every=0.2)  # the other one may not listen at once
            [after] = receiving.result()
            assert (before.body, after.body, after.redelivered) == (b"1", b"1", True)
            await inbox.settle([after], Settlement.ACK)


async def test_taps_get_what_a_lost_link_swallowed(rabbitmq, rabbitmq_url):
    async with load(rabbitmq_url, many=3) as running:
        for _ in range(2):
            await running.goes_on(30)
            await asyncio.to_thread(rabbitmq.close_connections)
        await running.goes_on(30)
    (messages,) = await take(rabbitmq_url, TAP)
    assert set(running.accepted) <= {int(properties.headers["ce-id"]) for _, properties, _ in messages}


async def test_a_publisher_that_ends_waits_for_taps(rabbitmq, rabbitmq_url):
    """Without its link, a copy is on its way for longer than the answer was."""
    async with load(rabbitmq_url, many=3) as running:
        await running.goes_on(30)
        await asyncio.to_thread(rabbitmq.close_connections)
        await running.goes_on(1)
    (messages,) = await take(rabbitmq_url, TAP)
    assert set(running.accepted) <= {int(properties.headers["ce-id"]) for _, properties, _ in messages}
