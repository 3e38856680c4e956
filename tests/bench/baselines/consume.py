"""A consumer as one usually writes it: aio-pika, and a POST of aiohttp for each message; signs and records nothing."""

from __future__ import annotations

import asyncio
import sys

import aio_pika
import aiohttp
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from tests.bench.baselines import QUEUE, QUORUM

AT_ONCE = 200


async def main(url: str, target: str) -> None:
    """Post each message of the queue to *target*, and ack it then."""
    connection = await aio_pika.connect_robust(url)
    channel = await connection.channel()
    await channel.set_qos(AT_ONCE)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments=QUORUM)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

        async def deliver(message: AbstractIncomingMessage) -> None:
            async with message.process(), session.post(target, data=message.body) as response:
                response.raise_for_status()

        await queue.consume(deliver)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
