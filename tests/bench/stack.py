"""The product under load: a process for each role, on a database and a vhost of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.bodies import BATCH_SIZE, NAME, SIGNAL
from tests.bench.progress import reach
from tests.bench.receiving import Receiver
from tests.bench.rows import Bench
from tests.bench.usage import servers_of
from tests.support.postgres import fresh_database
from tests.support.product import Client, Process, client_of

_numbers = itertools.count()


@dataclass(kw_only=True)
class Stack:
    """What `running` yields.

    Args:
        directory: For logs and data.
        environment: Of its processes.
        pids: Where each component's tree of processes begins.
    """

    directory: Path
    environment: dict[str, str]
    pids: dict[str, int | None] = field(default_factory=dict)
    client: Client = field(init=False)

    @asynccontextmanager
    async def process(self, *command: str, component: str, **settings: str) -> AsyncIterator[Process]:
        """Run ``signal-broker`` with these arguments until the block is left, and measure it as *component*."""
        log = self.directory / f"{component}-{next(_numbers)}.log"
        async with Process(*command, environment=self.environment | settings, log=log) as process:
            self.pids[component] = process.process.pid
            try:
                yield process
            finally:
                self.pids.pop(component, None)

    def worker(self, *roles: str) -> AbstractAsyncContextManager[Process]:
        """Run a worker with these roles, measured as the first of them."""
        return self.process("worker", *roles, component=roles[0])


@asynccontextmanager
async def running(bench: Bench, *roles: str, **settings: str) -> AsyncIterator[Stack]:
    """Run a gateway that logs warnings only, and a worker for each of *roles*."""
    async with AsyncExitStack() as exits:
        assert bench.postgres is not None
        assert bench.rabbit is not None
        amqp = exits.enter_context(bench.rabbit.vhost())
        database = await exits.enter_async_context(fresh_database(bench.postgres))
        environment = {"STORE_URL": database, "TRANSPORT_URL": amqp, "LOG_LEVEL": "warning", **settings}
        stack = Stack(directory=bench.directory, environment=environment, pids=servers_of(bench))
        gateway = await exits.enter_async_context(stack.process("gateway", component="gateway"))
        stack.client = await exits.enter_async_context(client_of(gateway.url))
        for role in roles:
            await exits.enter_async_context(stack.worker(role))
        yield stack


async def subscribe(client: Client, receiver: Receiver, **spec: object) -> int:
    """Return the id of a new subscription to what the benchmark throws."""
    target = {"kind": "webhook", "url": receiver.url}
    created = await client.post("/v1/subscriptions", {"name": NAME, "target": target, **spec})
    return int(created["id"])


async def throw_backlog(client: Client, count: int) -> int:
    """Throw at least *count* signals as fast as may be, and return how many."""
    batches = iter(range(0, count, BATCH_SIZE))

    async def caller() -> int:
        accepted = 0
        for _ in batches:
            answer = await client.post("/v1/signals/batch", {"signals": [SIGNAL] * BATCH_SIZE})
            accepted += count_accepted(answer)
        return accepted

    return sum(await asyncio.gather(*(caller() for _ in range(4))))


def count_accepted(answer: Mapping[str, Any]) -> int:
    """Return how many signals of a batch were accepted; each has a status of its own."""
    return sum(result["status"] == 202 for result in answer["results"])


async def recorded(client: Client) -> int:
    """Return how many signals are recorded."""
    return int((await client.get("/v1/ledger"))["recorded"])


async def await_recorded(client: Client, count: int) -> None:
    """Wait until *count* signals are recorded."""
    await reach(lambda: recorded(client), count)


async def await_owed(client: Client, count: int) -> None:
    """Wait until *count* deliveries are owed: pending, or parked until a queue has room for them."""

    async def owed() -> int:
        deliveries = (await client.get("/v1/ledger"))["deliveries"]
        return int(deliveries["pending"] + deliveries["parked"])

    await reach(owed, count)
