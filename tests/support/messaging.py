"""What tests of a transport say again and again: declare, publish, take, look."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from broker.errors import Unavailable, Unconfirmed
from broker.topology import Binding, Exchange, Queue, Topology
from broker.transport import Message, Settlement
from tests.support.eventually import eventually

SOON = timedelta(seconds=30)


def fresh():
    return f"test.{uuid.uuid4().hex}"


async def declare(transport, *things):
    """Declare *things* and return the name of the first."""
    kinds = {kind: tuple(thing for thing in things if isinstance(thing, kind)) for kind in (Exchange, Queue, Binding)}
    await transport.declare(Topology(*kinds.values()))
    return things[0].name


async def declare_queue(transport, dead_letter_exchange=None):
    return await declare(transport, Queue(fresh(), dead_letter_exchange))


async def declare_exchange(transport, kind):
    return await declare(transport, Exchange(fresh(), kind))


async def bind(transport, source, destination, routing_key="", to="queue"):
    await transport.declare(Topology((), (), (Binding(source, destination, routing_key, to),)))


async def declare_with_dead_letters(transport, **options):
    """Return the names of a queue, and of the queue that its dead letters go to."""
    dead = await declare_queue(transport)
    exchange = await declare_exchange(transport, "fanout")
    await bind(transport, exchange, dead)
    return await declare(transport, Queue(fresh(), exchange, **options)), dead


async def publish(transport, *bodies, exchange="", key, headers=None):
    for body in bodies:
        message = Message(body=body, headers=headers or {})
        await transport.publish(message, exchange=exchange, routing_key=key, timeout=SOON)


async def take(inbox, count):
    """Receive *count* messages, settling none."""
    taken = []
    async with asyncio.timeout(SOON.total_seconds()):
        while len(taken) < count:
            taken += await inbox.receive(count - len(taken))
    return taken


async def drain(transport, queue, count):
    """Return the bodies of the next *count* messages of *queue*, forgetting them."""
    async with transport.consume(queue, prefetch=count) as inbox:
        taken = await take(inbox, count)
        await inbox.settle(taken, Settlement.ACK)
    return [message.body for message in taken]


async def holds(transport, queue, count):
    """Wait until *queue* has exactly *count* ready messages."""

    async def check():
        return await transport.depth(queue, timeout=SOON) == count

    await eventually(check)


async def nothing_comes(inbox):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await inbox.receive(1)


async def publish_until_confirmed(transport, body, *, key):
    async def attempt():
        try:
            await publish(transport, body, key=key)
        except (Unavailable, Unconfirmed):
            return False
        return True

    await eventually(attempt)
