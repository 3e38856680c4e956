"""A client that does one thing of the product as fast as it can, and nothing else: a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog
import uvloop

from broker.signals import Signal, Throw
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database
from broker.store.signals import recording
from broker.store.signals.signals import SignalStore
from broker.topology import ATTEMPT, Queue, Topology
from broker.transport import Message, Settlement
from broker.transport.rabbitmq import RabbitTransport
from tests.bench.bodies import NAME, NATIVE
from tests.bench.programs import write_json
from tests.bench.progress import PATIENCE

AT_ONCE = 250
"""How many signals a recording has at most."""
UNCONFIRMED = 1000
"""How many messages of a client may await their confirms."""
_APART = 1_000_000
_QUEUE = "bench.ceiling"
_PATIENCE = timedelta(seconds=30)


async def _repeat(seconds: float, at_once: int, work: Callable[[], Awaitable[object]]) -> float:
    """Return how many a second were done, if *work* does so many *at once*."""
    await work()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        await work()
        count += at_once
    return count / elapsed


async def number(url: str, seconds: float, at_once: int) -> float:
    """Number throws, and do nothing with the numbers."""
    batch = [(Throw(name=NAME), None)] * at_once
    async with Database(url, size=1) as database:
        store = SignalStore(database)
        return await _repeat(seconds, at_once, lambda: store.number(batch))


async def record(url: str, seconds: float, client: int) -> float:
    """Insert signals as the end of a recording does, which the lock covers, and nothing before it."""
    throw, now = Throw(name=NAME, payload=NATIVE.encode()), datetime.now(UTC)
    ids = iter(range(1 + client * _APART, 1 + (client + 1) * _APART))
    async with Database(url, size=1) as database:
        await PartitionStore(database).cover([1 + client * _APART])

        async def insert_batch() -> None:
            async with database.transaction() as session:
                signals = [Signal(id=next(ids), created_at=now, throw=throw) for _ in range(AT_ONCE)]
                await session.execute(recording._Sql.insert_signals, **recording._columns(signals))  # noqa: SLF001

        return await _repeat(seconds, AT_ONCE, insert_batch)


async def publish(url: str, seconds: float) -> float:
    """Publish messages to one queue, each of which is confirmed."""
    message = Message(body=NATIVE.encode())
    async with RabbitTransport(url) as transport:
        await transport.declare(Topology(exchanges=(), queues=(Queue(_QUEUE),), bindings=()))

        async def publish_many() -> None:
            confirms = [
                transport.publish(message, exchange="", routing_key=_QUEUE, timeout=_PATIENCE)
                for _ in range(UNCONFIRMED)
            ]
            await asyncio.gather(*confirms)

        return await _repeat(seconds, UNCONFIRMED, publish_many)


async def take(url: str, count: int) -> float:
    """Take due attempts from their queue at once, from the first one to the last one."""
    async with RabbitTransport(url) as transport, transport.consume(ATTEMPT, prefetch=UNCONFIRMED) as inbox:
        taken, start = 0, 0.0
        while taken < count:
            async with asyncio.timeout(PATIENCE):
                messages = await inbox.receive(UNCONFIRMED)
            start = start or time.perf_counter()
            taken += len(messages)
            await inbox.settle(messages, Settlement.ACK)
        return taken / (time.perf_counter() - start)


async def main(part: str, url: str, *, seconds: float = 0, client: int = 0, count: int = 0) -> None:
    """Do that part, and print how much a second."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    match part:
        case "numbering":
            rate = await number(url, seconds, 1)
        case "numbering-batches":
            rate = await number(url, seconds, 100)
        case "positions":
            rate = await record(url, seconds, client)
        case "queue":
            rate = await publish(url, seconds)
        case _:
            rate = await take(url, count)
    write_json({"rate": rate})


if __name__ == "__main__":
    uvloop.run(main(**json.load(sys.stdin)))
