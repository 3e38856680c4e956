"""How long one signal takes to reach ten thousand subscriptions.

``python -m tests.bench.fanning 10000 1 20`` throws 1 signal, then 20 at once, to 10,000 subscriptions.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench.delivering import BODY, stack_of, subscribe
from tests.bench.receiving import Receiver, receiving
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.product import Client
from tests.support.rabbitmq import rabbitmq_server
from tests.support.rabbitmq_servers import Rabbit

SUBSCRIPTIONS = 10_000
AT_ONCE = (1, 5)


@dataclass(frozen=True)
class FanOut:
    """What *signals* thrown at once came to: seconds until all were recorded, the first and the last webhook came."""

    signals: int
    deliveries: int
    recorded: float
    first: float
    last: float


async def measure(
    directory: Path, postgres: PostgresServer, amqp: str, subscriptions: int, at_once: Sequence[int]
) -> list[FanOut]:
    """Return what each number of signals thrown at once came to."""
    async with stack_of(directory, postgres, amqp) as stack, stack.deliverer, receiving() as receiver:
        for _ in range(0, subscriptions, 50):
            await asyncio.gather(*(subscribe(stack.client, receiver) for _ in range(50)))
        figures, owed = [], 0
        for signals in at_once:
            owed += signals * subscriptions
            start = time.time()
            await asyncio.gather(*(stack.client.post("/v1/signals", json.loads(BODY)) for _ in range(signals)))
            await eventually(partial(_matched, stack.client, owed), within=300, every=0.02)
            recorded = time.time() - start
            await eventually(partial(_taken, receiver, owed), within=600, every=0.02)
            taken = sorted(moment - start for moment in receiver.taken.values() if moment > start)
            figures.append(FanOut(signals, signals * subscriptions, recorded, taken[0], taken[-1]))
        return figures


async def _matched(client: Client, owed: int) -> bool:
    return bool((await client.get("/v1/ledger"))["matched"] >= owed)


def _taken(receiver: Receiver, owed: int) -> bool:
    return len(receiver.taken) >= owed


def show(
    directory: Path,
    postgres: PostgresServer,
    rabbit: Rabbit,
    subscriptions: int = SUBSCRIPTIONS,
    at_once: Sequence[int] = AT_ONCE,
) -> None:
    """Measure and print."""
    table = Table(title=f"Fan-out: one recorder, one deliverer, {subscriptions:,} webhooks")
    for column in (
        "signals at once",
        "all recorded after",
        "first webhook after",
        "last webhook after",
        "deliveries/s",
    ):
        table.add_column(column, justify="right")
    with rabbit.vhost() as amqp:
        for figures in uvloop.run(measure(directory, postgres, amqp, subscriptions, at_once)):
            table.add_row(
                str(figures.signals),
                f"{figures.recorded:.2f} s",
                f"{figures.first:.2f} s",
                f"{figures.last:.2f} s",
                f"{figures.deliveries / figures.last:,.0f}",
            )
    Console(width=130).print(table)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "rmq").mkdir()
        with postgres_server(place / "pg") as server, rabbitmq_server(place / "rmq") as rabbit_server:
            first, *rest = map(int, sys.argv[1:] or (SUBSCRIPTIONS, *AT_ONCE))
            show(place, server, rabbit_server, first, rest)
