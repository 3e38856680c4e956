"""Queues as microservices have them: declare, bind, fill, empty."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from itertools import islice, takewhile

from broker.transport import Message
from broker.transport.rabbitmq import RabbitTransport
from tests.support.eventually import eventually
from tests.support.rabbitmq import on_channel

AT_ONCE = 1000


def fresh_queue():
    return f"test.{uuid.uuid4().hex}"


async def declare(url, *bindings, queue=None, **arguments):
    """Return a durable quorum queue with these ``<exchange>=<binding key>``; *arguments* may change its type, too."""
    queue = queue or fresh_queue()

    def do(channel):
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum", **arguments})
        for binding in bindings:
            exchange, _, key = binding.partition("=")
            channel.queue_bind(queue, exchange, key)

    await on_channel(url, do)
    return queue


async def delete(url, *queues):
    await on_channel(url, lambda channel: [channel.queue_delete(queue) for queue in queues])


async def take(url, *queues):
    """Return, for each queue, the messages it holds as (routing key, properties, body), and empty it."""
    return await on_channel(url, lambda channel: [_take_all(channel, queue) for queue in queues])


def _take_all(channel, queue):
    """Take one message, then those behind it in one go: only ``basic.get`` says that there are no more.

    They are acknowledged once the consumer is cancelled, so that no others come meanwhile.
    """
    messages = []
    while (first := channel.basic_get(queue, auto_ack=True))[0]:
        messages.append(first)
        if count := min(first[0].message_count, AT_ONCE):
            channel.basic_qos(prefetch_count=count)
            following = islice(channel.consume(queue, inactivity_timeout=5), count)
            messages += takewhile(lambda got: got[0], following)
            channel.cancel()
            if messages[-1] is not first:
                channel.basic_ack(messages[-1][0].delivery_tag, multiple=True)
    return [(method.routing_key, properties, body) for method, properties, body in messages]


async def holds(url, queue, count):
    """Wait until *queue* has exactly *count* messages."""

    async def check():
        return count == await on_channel(
            url, lambda channel: channel.queue_declare(queue, passive=True).method.message_count
        )

    await eventually(check, within=60, every=0.1)


async def fill(url, queue, count):
    """Put *count* small messages into *queue*, with our own publisher: pika needs ten times as long."""
    async with RabbitTransport(url) as transport:
        publish = transport.publish
        for number in range(0, count, 200):
            await asyncio.gather(
                *(
                    publish(Message(body=b"{}"), exchange="", routing_key=queue, timeout=timedelta(seconds=60))
                    for _ in range(min(200, count - number))
                )
            )
