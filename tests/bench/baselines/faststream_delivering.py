"""The same consumer of a framework: a subscriber of FastStream that posts with aiohttp; signs and records nothing."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage

from tests.bench.baselines import QUEUE
from tests.bench.baselines.consume import AT_ONCE


async def main(url: str, target: str) -> None:
    """Post each message of the queue to *target*, and ack it then."""
    broker = RabbitBroker(url, logger=None, default_channel=Channel(prefetch_count=AT_ONCE))
    queue = RabbitQueue(QUEUE, durable=True, queue_type=QueueType.QUORUM)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

        @broker.subscriber(queue)
        async def deliver(message: RabbitMessage) -> None:
            async with session.post(target, data=message.body) as response:
                response.raise_for_status()

        await broker.start()
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
