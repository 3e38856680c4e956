"""Publishes of aiormq to a quorum queue, each confirmed: in a closed loop of 64, or at a fixed rate."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiormq
import uvloop
from pamqp.commands import Basic

from tests.bench.baselines import QUEUE, QUORUM
from tests.bench.pacing import at_rate
from tests.bench.programs import write_json

AT_ONCE = 64


async def main(url: str, body: str, count: int, rate: float | None = None) -> None:
    """Publish *body* *count* times, and print how long that took, and the latencies if a rate is given."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_declare(QUEUE, durable=True, arguments={**QUORUM})
    data, properties, latencies = body.encode(), Basic.Properties(delivery_mode=2), list[float]()

    async def publish(due: float) -> None:
        await channel.basic_publish(data, routing_key=QUEUE, properties=properties)
        latencies.append(time.time() - due)

    async def publisher() -> None:
        for _ in numbers:
            await publish(time.time())

    start, used, numbers = time.perf_counter(), time.process_time(), iter(range(count))
    if rate is None:
        await asyncio.gather(*(publisher() for _ in range(AT_ONCE)))
    else:
        async with asyncio.TaskGroup() as group:
            await at_rate(rate, count / rate, lambda due: group.create_task(publish(due)))
    elapsed, cpu = time.perf_counter() - start, time.process_time() - used
    write_json({"elapsed": elapsed, "cpu": cpu, "latencies": latencies if rate else []})
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(**json.load(sys.stdin)))
