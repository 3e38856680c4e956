"""The same consumer of a framework: a subscriber of FastStream that posts with aiohttp; signs and records nothing."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiohttp
import uvloop
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from tests.bench.baselines import QUEUE
from tests.bench.baselines.consume import AT_ONCE


async def main(url: str, target: str) -> None:
    """Post each message of the queue to *target*, and ack it then."""
    broker = RabbitBroker(url, logger=None, default_channel=Channel(prefetch_count=AT_ONCE))
    queue = RabbitQueue(QUEUE, durable=True, queue_type=QueueType.QUORUM)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:

        @broker.subscriber(queue)
        async def deliver(signal: dict[str, Any]) -> None:
            async with session.post(target, json=signal) as response:
                response.raise_for_status()

        await broker.start()
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
