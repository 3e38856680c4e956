"""How fast a backlog is delivered to a receiver that answers at once: one ordering key, ten of them, and no order.

``python -m tests.bench.ordering 2000`` throws 2,000 signals for each.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from broker.store.postgres.database import Database
from tests.bench.delivering import Stack, stack_of, subscribe
from tests.bench.receiving import receiving
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.rabbitmq import rabbitmq_server
from tests.support.rabbitmq_servers import Rabbit

SIGNALS = 4000
KEYS = {"one key": 1, "ten keys": 10, "unordered": 0}
BATCH = 100
MOST_SECONDS = 15.0
"""For how long a backlog is watched; it need not come to its end."""


class Figures(NamedTuple):
    """Deliveries a second, and the CPU seconds that each took of the deliverer and of PostgreSQL."""

    per_second: float
    deliverer: float
    postgres: float


async def measure(directory: Path, postgres: PostgresServer, amqp: str, *, signals: int, keys: int) -> Figures:
    """Return what the backlog of so many ordering keys comes to; 0: the subscription is not ordered."""
    async with stack_of(directory, postgres, amqp) as stack, receiving() as receiver:
        await subscribe(stack.client, receiver, ordered=keys > 0)
        await _throw(stack, signals, keys)
        server = await _postmaster(postgres)
        async with stack.deliverer as deliverer:
            process = psutil.Process(deliverer.process.pid)
            first = await eventually(lambda: len(receiver.taken), within=30, every=0.005)
            start, used, used_by_postgres = time.time(), _seconds(process), _seconds_of_all(server)
            end = start + MOST_SECONDS
            await eventually(lambda: len(receiver.taken) >= signals or time.time() > end, within=60, every=0.005)
            made = len(receiver.taken) - first
            elapsed = max(receiver.taken.values()) - start
            return Figures(
                made / elapsed,
                (_seconds(process) - used) / made,
                (_seconds_of_all(server) - used_by_postgres) / made,
            )


async def _throw(stack: Stack, signals: int, keys: int) -> None:
    """Throw the backlog, and wait until it is recorded."""
    for start in range(0, signals, BATCH):
        items = [
            {
                "name": "bench",
                "payload": {"policy": number, "text": "x" * 900},
                **({"orderingKey": f"key-{number % keys}"} if keys else {}),
            }
            for number in range(start, min(start + BATCH, signals))
        ]
        await stack.client.post("/v1/signals/batch", {"signals": items}, expect=200)

    async def is_recorded() -> bool:
        states = (await stack.client.get("/v1/ledger"))["deliveries"]
        return bool(states["pending"] + states["parked"] >= signals)

    await eventually(is_recorded, within=60, every=0.1)


async def _postmaster(postgres: PostgresServer) -> psutil.Process:
    """Return the server's main process."""
    async with Database(postgres.url, size=1) as database:
        parent = psutil.Process(await database.fetchval("SELECT pg_backend_pid()")).parent()
    assert parent is not None
    return parent


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _seconds_of_all(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children, also those that have ended."""
    ended = process.cpu_times()
    return sum(map(_seconds, [process, *process.children()])) + ended.children_user + ended.children_system


def show(directory: Path, postgres: PostgresServer, rabbit: Rabbit, signals: int = SIGNALS) -> None:
    """Measure and print."""
    table = Table(title=f"Ordering: a backlog of {signals:,} signals, one deliverer process, an instant receiver")
    for column in ("what", "deliveries/s", "CPU/delivery, deliverer", "PostgreSQL"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, keys in KEYS.items():
        with rabbit.vhost() as amqp:
            figures = uvloop.run(measure(directory, postgres, amqp, signals=signals, keys=keys))
        table.add_row(
            what,
            f"{figures.per_second:,.0f}",
            f"{figures.deliverer * 1e6:,.0f} us",
            f"{figures.postgres * 1e6:,.0f} us",
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "rmq").mkdir()
        with postgres_server(place / "pg") as server, rabbitmq_server(place / "rmq") as rabbit_server:
            show(place, server, rabbit_server, *map(int, sys.argv[1:]))
