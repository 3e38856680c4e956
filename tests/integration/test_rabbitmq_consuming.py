"""What becomes of RabbitMQ consumers whose queue, channel, link or server goes away."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pika
import pytest

from broker.errors import ConfigurationError, Unavailable
from broker.topology import Exchange, Queue, Topology
from broker.transport import Message, Settlement
from broker.transport.rabbitmq import RabbitTransport
from tests.support.eventually import eventually
from tests.support.rabbitmq import on_channel
from tests.support.rabbitmq_servers import vhost_of

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=10)
QUEUE = "queue"
ONE_QUEUE = Topology((), (Queue(QUEUE),), ())


@pytest.fixture
async def transport(rabbitmq_url):
    async with RabbitTransport(rabbitmq_url, renew_every=timedelta(seconds=0.2)) as transport:
        yield transport


@pytest.fixture
async def queue(transport):
    await transport.declare(ONE_QUEUE)
    return QUEUE


async def fill(transport, count):
    await asyncio.gather(
        *(
            transport.publish(Message(body=b"%d" % i), exchange="", routing_key=QUEUE, timeout=SOON)
            for i in range(count)
        )
    )


async def take(inbox, count):
    taken = []
    async with asyncio.timeout(60):
        while len(taken) < count:
            taken += await inbox.receive(count - len(taken))
    return taken


async def test_a_consumer_of_a_missing_queue_waits_for_it(transport):
    async with transport.consume(QUEUE, prefetch=1) as inbox:
        assert not transport.consuming
        await transport.declare(ONE_QUEUE)
        await eventually(lambda: transport.consuming)
        await fill(transport, 1)
        await take(inbox, 1)
    assert transport.consuming


async def test_a_consumer_comes_back_after_its_queue_was_deleted_and_declared_again(transport, queue, rabbitmq_url):
    """RabbitMQ only sends basic.cancel then; the channel stays open."""
    async with transport.consume(queue, prefetch=1) as inbox:
        await eventually(lambda: transport.consuming)
        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(queue))
        await eventually(lambda: not transport.consuming)
        await transport.declare(ONE_QUEUE)
        await fill(transport, 1)
        await take(inbox, 1)
        await eventually(lambda: transport.consuming)


async def test_a_consumer_that_the_server_forgot_is_established_again(rabbitmq, transport, queue, rabbitmq_url):
    """Nothing tells the client, and the queue still has the other consumer.

    While consumers are renewed the server lists none for a moment, perhaps.
    """
    forget = (
        '{ok, Q} = rabbit_amqqueue:lookup({resource, <<"VHOST">>, queue, <<"queue">>}),'
        "[begin {C, P} = {element(2, I), element(1, I)},"
        " ra:process_command(amqqueue:get_pid(Q), rabbit_fifo:make_checkout({C, P}, cancel, #{})) end"
        " || [_, {channel_pid, P0}, {consumer_tag, C0} | _] <- lists:sublist("
        '    rabbit_amqqueue:consumers_all(<<"VHOST">>), 1), I <- [{P0, C0}]].'
    ).replace("VHOST", vhost_of(rabbitmq_url))

    async def is_forgotten():
        return (await asyncio.to_thread(rabbitmq.ctl, "eval", forget)).strip() != "[]"

    async with (
        RabbitTransport(rabbitmq_url, renew_every=timedelta(seconds=0.2)) as other,
        transport.consume(queue, prefetch=1) as one,
        other.consume(queue, prefetch=1) as two,
    ):
        await eventually(lambda: transport.consuming and other.consuming)
        await eventually(is_forgotten)
        await fill(transport, 2)
        await asyncio.gather(take(one, 1), take(two, 1))


async def test_a_hung_server_is_given_up_and_what_was_unsettled_comes_again(rabbitmq, rabbitmq_url, queue):
    """The short heartbeat is this test's alone: a busy machine misses one, and then comes again what was not lost."""
    beat, patience = timedelta(seconds=1), timedelta(seconds=30)
    async with (
        RabbitTransport(rabbitmq_url, heartbeat=beat, connect_timeout=patience) as transport,
        transport.consume(queue, prefetch=3) as inbox,
    ):
        await fill(transport, 3)
        lost = await take(inbox, 3)
        await eventually(lambda: transport.consuming)
        rabbitmq.suspend()
        try:
            await inbox.settle(lost[:1], Settlement.ACK)
            with pytest.raises(Unavailable, match=r"the server hangs|the link was closed"):
                await transport.depth(queue, timeout=timedelta(seconds=30))
            await eventually(lambda: not transport.consuming)
            await inbox.settle(lost[1:2], Settlement.ACK)
        finally:
            rabbitmq.resume()
        again = await take(inbox, 2)
        assert {message.body for message in again} >= {message.body for message in lost[1:]}
        assert all(message.redelivered for message in again)
        await inbox.settle(lost[2:], Settlement.ACK)
        assert {message.tag for message in lost}.isdisjoint(message.tag for message in again)


async def test_acks_in_any_order_settle_exactly_those_messages(transport, queue):
    rng = random.Random(7)
    await fill(transport, 200)
    async with transport.consume(queue, prefetch=200) as inbox:
        taken = await take(inbox, 200)
        assert [message.body for message in taken] == [b"%d" % i for i in range(200)]
        kept = rng.sample(taken[100:], 50)
        acked = [message for message in taken if message not in kept]
        rng.shuffle(acked)
        while acked:
            batch, acked = acked[:20], acked[20:]
            await inbox.settle(batch, Settlement.ACK)
            await inbox.settle(batch, Settlement.ACK)  # twice is once
    async with transport.consume(queue, prefetch=200) as inbox:
        again = await take(inbox, 50)
        assert await transport.depth(queue, timeout=SOON) == 0
    assert {message.body for message in again} == {message.body for message in kept}


async def test_an_ack_just_before_leaving_is_not_lost(transport, queue, rabbitmq_url):
    for _ in range(3):
        await fill(transport, 50)
        async with transport.consume(queue, prefetch=50) as inbox:
            taken = await take(inbox, 50)
            assert not any(message.redelivered for message in taken), "an ack of the round before was lost"
            await inbox.settle(taken, Settlement.ACK)
        left = await on_channel(rabbitmq_url, lambda channel: channel.queue_declare(queue, passive=True))
        assert left.method.message_count == 0


async def test_headers_that_the_port_does_not_know_are_left_out(transport, queue, rabbitmq_url):
    headers = {"text": "a", "number": 7, "list": ["a", "b"], "flag": True, "none": None, "mixed": ["a", 1], "table": {}}
    await on_channel(
        rabbitmq_url, lambda channel: channel.basic_publish("", queue, b"", pika.BasicProperties(headers=headers))
    )
    async with transport.consume(queue, prefetch=1) as inbox:
        [got] = await take(inbox, 1)
    assert got.headers == {"text": "a", "number": 7, "list": ["a", "b"]}
    assert got.content_type == "application/octet-stream"


async def test_a_queue_with_other_arguments_is_refused_with_its_name_and_the_difference(transport, rabbitmq_url):
    other = {"x-queue-type": "quorum", "x-delivery-limit": 5}
    await on_channel(rabbitmq_url, lambda channel: channel.queue_declare(QUEUE, durable=True, arguments=other))
    with pytest.raises(ConfigurationError, match=r"x-delivery-limit.*queue 'queue'.*'10000'.*'5'"):
        await transport.declare(Topology((Exchange("e", "topic"),), (Queue(QUEUE),), ()))


async def fill_with_large(transport, count):
    for i in range(count):
        message = Message(body=b"%03d" % i + bytes(1 << 20))
        await transport.publish(message, exchange="", routing_key=QUEUE, timeout=SOON)


async def take_and_ack(inbox, count):
    """Take *count* messages, a few at a time, and return their bodies' first bytes."""
    taken = []
    async with asyncio.timeout(60):
        while len(taken) < count:
            messages = await inbox.receive(min(4, count - len(taken)))
            await inbox.settle(messages, Settlement.ACK)
            taken += [message.body[:3] for message in messages]
    return taken


async def test_a_consumer_of_large_messages_is_handed_fewer_until_they_are_small_again(
    rabbitmq, transport, queue, rabbitmq_url
):
    async def is_handed(count):
        arguments = ("-p", vhost_of(rabbitmq_url), "prefetch_count", "--no-table-headers")
        return (await asyncio.to_thread(rabbitmq.ctl, "list_consumers", *arguments)).split() == [str(count)]

    await fill_with_large(transport, 50)
    async with transport.consume(queue, prefetch=500) as inbox:
        assert sorted(await take_and_ack(inbox, 50)) == [b"%03d" % i for i in range(50)]
        await eventually(lambda: is_handed(15))  # if the acks kept up, once it was idle
        await fill(transport, 1500)
        await take_and_ack(inbox, 1500)
        await eventually(lambda: is_handed(500))


async def test_small_messages_that_nobody_settles_do_not_keep_others_out_after_a_large_one(transport, queue):
    """The consumer was idle meanwhile, and renewed for messages as large as the last one."""
    async with transport.consume(QUEUE, prefetch=100) as inbox:
        await transport.publish(Message(body=b"x" * (15 << 20)), exchange="", routing_key=QUEUE, timeout=SOON)
        await inbox.settle(await take(inbox, 1), Settlement.ACK)
        await asyncio.sleep(1)  # an idle consumer is renewed after twice 0.2 s
        await fill(transport, 50)
        assert len({message.body for message in await take(inbox, 50)}) == 50


async def test_leaving_in_the_middle_of_large_messages_loses_none_and_takes_no_long_time(transport, queue):
    await fill_with_large(transport, 80)
    for _ in range(3):
        async with asyncio.timeout(10), transport.consume(queue, prefetch=500) as inbox:
            await inbox.receive(1)
    async with transport.consume(queue, prefetch=500) as inbox:
        assert sorted(await take_and_ack(inbox, 80)) == [b"%03d" % i for i in range(80)]


async def test_a_link_lost_in_the_middle_of_large_messages_loses_none(rabbitmq, transport, queue):
    await fill_with_large(transport, 60)
    got = set()
    async with transport.consume(queue, prefetch=500) as inbox:
        for _ in range(3):
            got |= set(await take_and_ack(inbox, 5))
            await asyncio.to_thread(rabbitmq.close_connections)
        while len(got) < 60:
            got |= set(await take_and_ack(inbox, 1))
        await eventually(lambda: transport.consuming)
    assert got == {b"%03d" % i for i in range(60)}
