"""Recovery: poison is put back into the queue that it came from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from broker.topology import dead_letters
from broker.transport import Message, Received, Settlement, Transport

_WINDOW = 20
"""How many messages are on their way at a time; each may be megabytes."""


async def recover(transport: Transport, queue: str, count: int, *, timeout: timedelta) -> AsyncIterator[int]:
    """Move *count* messages from the dead queue of *queue* back to it; yield how many were moved just now.

    It ends early once the dead queue has been empty for *timeout*. A message is deleted there only after its copy was
    confirmed; what is moved twice because of a lost link is dropped by its consumer.

    Raises:
        TransportError: A copy was not confirmed within *timeout*; that message and those after it stay poison.
    """
    async with transport.consume(dead_letters(queue), prefetch=_WINDOW) as inbox:
        while count > 0:
            try:
                async with asyncio.timeout(timeout.total_seconds()):
                    messages = await inbox.receive(min(count, _WINDOW))
            except TimeoutError:
                return
            failures = await asyncio.gather(
                *(
                    transport.publish(_renewed(message), exchange="", routing_key=queue, timeout=timeout)
                    for message in messages
                ),
                return_exceptions=True,
            )
            moved = [message for message, failure in zip(messages, failures, strict=True) if failure is None]
            await inbox.settle(moved, Settlement.ACK)
            for failure in filter(None, failures):
                raise failure
            count -= len(moved)
            yield len(moved)


def _renewed(message: Received) -> Message:
    """Return *message* as if it were new: without RabbitMQ's own headers, and without further routing keys."""
    headers = {name: value for name, value in message.headers.items() if not name.startswith("x-") and name != "CC"}
    return Message(
        body=message.body,
        headers=headers,
        type=message.type,
        timestamp=message.timestamp,
        content_type=message.content_type,
    )
