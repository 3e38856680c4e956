"""How fast webhooks are delivered by one deliverer process, and what one that never answers costs the others."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench.load import post
from tests.bench.receiving import Receiver, receiving
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.product import ADMIN_TOKEN, Client, Process, client_of
from tests.support.rabbitmq_servers import Rabbit

BODY = json.dumps({"name": "bench", "payload": {"policy": 42, "text": "x" * 900}}).encode()
ROUNDS = 3
SUBSCRIBERS = 20
SIGNALS_PER_SECOND = 10
SECONDS = 20.0


@dataclass(frozen=True)
class Stack:
    """The product in processes of its own; the deliverer is started when it is wanted."""

    client: Client
    deliverer: Process


@asynccontextmanager
async def stack_of(directory: Path, postgres: PostgresServer, amqp: str) -> AsyncIterator[Stack]:
    """Run a gateway, a recorder and a scheduler."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(fresh_database(postgres))
        environment = {"STORE_URL": database, "TRANSPORT_URL": amqp, "LOG_LEVEL": "warning"}

        def process(*command: str) -> Process:
            return Process(*command, environment=environment, log=directory / "log")

        gateway = await stack.enter_async_context(process("gateway"))
        await stack.enter_async_context(process("worker", "recorder", "scheduler"))
        client = await stack.enter_async_context(client_of(gateway.url))
        yield Stack(client, process("worker", "deliverer"))


async def subscribe(client: Client, receiver: Receiver, **spec: object) -> int:
    """Return the id of a new subscription to what the benchmark throws."""
    target = {"kind": "webhook", "url": receiver.url}
    created = await client.post("/v1/subscriptions", {"name": "bench", "target": target, **spec})
    return int(created["id"])


async def throughput(directory: Path, postgres: PostgresServer, amqp: str) -> tuple[float, float]:
    """Return (deliveries a second, CPU seconds of the deliverer each) while a backlog is delivered to one receiver."""
    async with stack_of(directory, postgres, amqp) as stack, receiving() as receiver:
        await subscribe(stack.client, receiver)
        answers = await post(stack.client.url + "/v1/signals", BODY, token=ADMIN_TOKEN, seconds=3)
        owed = answers.statuses[202]

        async def is_recorded() -> bool:
            return (await stack.client.get("/v1/ledger"))["deliveries"]["pending"] >= owed

        await eventually(is_recorded, within=60, every=0.1)
        async with stack.deliverer as deliverer:
            process = psutil.Process(deliverer.process.pid)
            first = await eventually(lambda: len(receiver.taken), every=0.005)
            before = process.cpu_times()
            start = time.time()
            await eventually(lambda: len(receiver.taken) >= owed, within=120, every=0.005)
            after = process.cpu_times()
            made = owed - first
            used = after.user + after.system - before.user - before.system
            return made / (max(receiver.taken.values()) - start), used / made


async def isolation(directory: Path, postgres: PostgresServer, amqp: str, *, black_hole: bool) -> list[float]:
    """Return how many seconds each webhook of `SUBSCRIBERS` took, from the throw to its arrival, at a steady load."""
    async with (
        stack_of(directory, postgres, amqp) as stack,
        stack.deliverer,
        receiving() as receiver,
        receiving(answers=False) as hole,
    ):
        for _ in range(SUBSCRIBERS):
            await subscribe(stack.client, receiver)
        if black_hole:
            await subscribe(stack.client, hole)
        thrown: dict[int, float] = {}

        async def throw() -> None:
            start = time.time()
            thrown[(await stack.client.post("/v1/signals", json.loads(BODY)))["id"]] = start

        await _steadily(throw)
        await eventually(lambda: len(receiver.taken) >= SUBSCRIBERS * len(thrown), within=60)
        return [taken - thrown[signal_id] for (signal_id, _), taken in receiver.taken.items()]


async def _steadily(throw: Callable[[], Coroutine[None, None, None]]) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    async with asyncio.TaskGroup() as group:
        for _ in range(int(SECONDS * SIGNALS_PER_SECOND)):
            group.create_task(throw())
            due += 1 / SIGNALS_PER_SECOND
            await asyncio.sleep(due - loop.time())


def show(directory: Path, postgres: PostgresServer, rabbit: Rabbit) -> None:
    """Measure both, print both."""
    rounds = []
    for _ in range(ROUNDS):
        with rabbit.vhost() as amqp:
            rounds.append(uvloop.run(throughput(directory, postgres, amqp)))
    show_throughput(rounds)
    rows = []
    for what, black_hole in (("alone", False), ("beside one that never answers", True)):
        with rabbit.vhost() as amqp:
            rows.append((what, uvloop.run(isolation(directory, postgres, amqp, black_hole=black_hole))))
    show_isolation(rows)


def show_throughput(rounds: Sequence[tuple[float, float]]) -> None:
    """Print the median of the rounds."""
    table = Table(title=f"Delivering webhooks: a backlog, one deliverer process, median of {len(rounds)} rounds")
    table.add_column("deliveries/s", justify="right")
    table.add_column("CPU/delivery", justify="right")
    rate, cpu = (statistics.median(figures) for figures in zip(*rounds, strict=True))
    table.add_row(f"{rate:,.0f}", f"{cpu * 1e6:,.0f} us")
    Console(width=130).print(table)


def show_isolation(rows: Sequence[tuple[str, list[float]]]) -> None:
    """Print each row's percentiles, beside the first row's."""
    rate = SUBSCRIBERS * SIGNALS_PER_SECOND
    table = Table(title=f"Isolation: {SUBSCRIBERS} webhooks, {rate} deliveries/s, from the throw to the arrival")
    for column in ("what", "p50", "p99", "p99 of alone"):
        table.add_column(column, justify="left" if column == "what" else "right")
    alone = statistics.quantiles(rows[0][1], n=100)[98]
    for what, seconds in rows:
        quantiles = statistics.quantiles(seconds, n=100)
        table.add_row(
            what, f"{quantiles[49] * 1000:.1f} ms", f"{quantiles[98] * 1000:.1f} ms", f"{quantiles[98] / alone:.2f}"
        )
    Console(width=130).print(table)
