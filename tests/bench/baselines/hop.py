"""How long a message takes from aio-pika's publish to aio-pika's consumer, over a quorum queue, at a fixed rate."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from tests.bench.baselines import QUORUM
from tests.bench.pacing import at_rate
from tests.bench.programs import write_json


async def main(url: str, body: str, rate: float, seconds: float) -> None:
    """Publish *rate* times a second, each with the moment at which it was due, and print how long each took."""
    latencies, count, done = list[float](), int(rate * seconds), asyncio.Event()
    async with await aio_pika.connect_robust(url) as publishing, await aio_pika.connect_robust(url) as consuming:
        sender, taker = await publishing.channel(), await consuming.channel()
        await taker.set_qos(200)
        queue = await taker.declare_queue("hop", durable=True, arguments=QUORUM)

        async def take(message: AbstractIncomingMessage) -> None:
            latencies.append(time.time() - float(str(message.headers["due"])))
            await message.ack()
            if len(latencies) >= count:
                done.set()

        async def publish(due: float) -> None:
            message = aio_pika.Message(
                body.encode(), headers={"due": f"{due:.6f}"}, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            await sender.default_exchange.publish(message, routing_key=queue.name)

        await queue.consume(take)
        async with asyncio.TaskGroup() as group:
            await at_rate(rate, seconds, lambda due: group.create_task(publish(due)))
        await asyncio.wait_for(done.wait(), 60)
    write_json({"latencies": latencies})


if __name__ == "__main__":
    uvloop.run(main(**json.load(sys.stdin)))
