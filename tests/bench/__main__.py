"""``make bench``: the figures of the README, each beside its baseline, in one run.

Figures of one run compare with each other only: medians of interleaved rounds, so that a machine that slows down slows
all of them down.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import books, delivering, fanning, filters, ordering
from tests.bench.load import Answers, post
from tests.support.postgres import PostgresServer, fresh_database, postgres_server
from tests.support.product import ADMIN_TOKEN, Process, client_of
from tests.support.rabbitmq import rabbitmq_server

ROUNDS = 3
SECONDS = 4.0
SIGNAL = {"name": "policy_conditions_changed", "payload": {"policy": 42, "text": "x" * 900}}
BODY = json.dumps(SIGNAL).encode()
BATCH = 100


@dataclass
class Row:
    """One thing that is measured, round by round; each of its requests throws *signals*."""

    name: str
    url: str
    pid: int
    token: str = ""
    signals: int = 1
    rounds: list[Answers] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def measure(self) -> None:
        """Load it for a few seconds; note the answers and the process's own CPU time a signal."""
        process = psutil.Process(self.pid)
        before = process.cpu_times()
        body = BODY if self.signals == 1 else json.dumps({"signals": [SIGNAL] * self.signals}).encode()
        answers = await post(self.url, body, token=self.token, seconds=SECONDS)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        self.rounds.append(answers)
        self.cpu.append(used / max(1, len(answers.seconds)) / self.signals)

    @property
    def per_second(self) -> float:
        """Signals accepted per second, at the median."""
        return self.signals * statistics.median(answers.per_second for answers in self.rounds)


@asynccontextmanager
async def baseline(*arguments: str) -> AsyncIterator[tuple[str, int]]:
    """Run one of `tests.bench.baselines`; yield its URL and process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.baselines", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).split()[1].decode(), process.pid
    finally:
        process.kill()
        await process.wait()


async def accepting(directory: Path, postgres: PostgresServer, amqp: str) -> list[Row]:
    """Measure how fast throws are accepted by one gateway process."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(fresh_database(postgres))
        environment = {"STORE_URL": database, "TRANSPORT_URL": amqp, "LOG_LEVEL": "warning"}
        gateway = await stack.enter_async_context(Process("gateway", environment=environment, log=directory / "log"))
        recorder = Process("worker", "recorder", environment=environment, log=directory / "log")
        bare, bare_pid = await stack.enter_async_context(baseline("bare"))
        plain, plain_pid = await stack.enter_async_context(baseline("publish", amqp))
        rows = [
            Row("bare aiohttp handler, parses JSON", bare + "/", bare_pid),
            Row("plain aiohttp + aio-pika publish, confirmed", plain + "/", plain_pid),
            Row(
                "signal-broker gateway, POST /v1/signals", gateway.url + "/v1/signals", gateway.process.pid, ADMIN_TOKEN
            ),
            Row(
                "signal-broker gateway, POST /engine-rest/signal",
                gateway.url + "/signal",
                gateway.process.pid,
                ADMIN_TOKEN,
            ),
            Row(
                f"signal-broker gateway, POST /v1/signals/batch, {BATCH} at a time",
                gateway.url + "/v1/signals/batch",
                gateway.process.pid,
                ADMIN_TOKEN,
                BATCH,
            ),
        ]
        for _ in range(ROUNDS):
            for row in rows:
                await row.measure()
        await stack.enter_async_context(recorder)
        await _reconcile(gateway.url, rows[2:])
        return rows


async def _reconcile(url: str, rows: list[Row]) -> None:
    """Wait until everything that was accepted is recorded; fail if it is not."""
    accepted = sum(
        row.signals * count
        for row in rows
        for answers in row.rounds
        for status, count in answers.statuses.items()
        if status < 300
    )
    async with client_of(url) as client:
        for _ in range(1200):
            recorded = (await client.get("/v1/ledger"))["recorded"]
            if recorded >= accepted:
                break
            await asyncio.sleep(0.1)
    print(f"accepted {accepted}, recorded {recorded}")
    if recorded < accepted:
        raise SystemExit("signals were lost")


def show(rows: list[Row]) -> None:
    """Print the medians, each beside the first row's."""
    table = Table(title=f"Accepting signals: 64 connections, {len(BODY)} bytes, median of {ROUNDS} rounds")
    for column in ("what", "signals/s", "of bare", "CPU/signal", "p50", "p99", "not 2xx"):
        table.add_column(column, justify="left" if column == "what" else "right")
    first = rows[0].per_second
    for row in rows:
        bad = sum(count for a in row.rounds for status, count in a.statuses.items() if status >= 300)
        table.add_row(
            row.name,
            f"{row.per_second:,.0f}",
            f"{row.per_second / first:.2f}",
            f"{statistics.median(row.cpu) * 1e6:,.0f} us",
            f"{statistics.median(a.percentile(0.5) for a in row.rounds) * 1000:.1f} ms",
            f"{statistics.median(a.percentile(0.99) for a in row.rounds) * 1000:.1f} ms",
            str(bad),
        )
    Console(width=130).print(table)


def main() -> None:
    """Start the servers, measure, print."""
    filters.show()
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "rmq").mkdir()
        with (
            postgres_server(directory / "pg") as postgres,
            rabbitmq_server(directory / "rmq") as rabbit,
        ):
            with rabbit.vhost() as amqp:
                show(uvloop.run(accepting(directory, postgres, amqp)))
            delivering.show(directory, postgres, rabbit)
            ordering.show(directory, postgres, rabbit)
            fanning.show(directory, postgres, rabbit)
            books.show(postgres)


if __name__ == "__main__":
    main()
