"""How fast signals are accepted and recorded beside many subscriptions that they do not match.

``python -m tests.bench.scale [kind ...] [--sizes 10,1000,100000]`` measures some kinds of subscriptions, or all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from broker.store.postgres.database import Database
from tests.bench.load import post
from tests.bench.memory import peak
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer, fresh_database, postgres_server
from tests.support.product import ADMIN_TOKEN, COMMAND, Client, Process, client_of
from tests.support.rabbitmq import rabbitmq_server

SIZES = (10, 1000, 100_000)
SIGNALS = 5000
BATCH = 100
SECONDS = 20.0
"""After which a recorder is measured by what it has recorded until then."""
ACCEPTING_SECONDS = 2.0
CONNECTIONS = 4
NAME = "bench.sig"
TARGET = "'{1,2}', 'webhook', 'https://host-' || i % 500 || '.example/hook', '{}'"

KINDS = {
    "executions": f"'{NAME}', NULL, 'execution-' || i, NULL, NULL",
    "tenants": f"'{NAME}', 'tenant-' || i, NULL, NULL, NULL",
    "names": "'bench.other.' || i, NULL, NULL, NULL, NULL",
    "beginnings": "'tenant' || i || '.#', NULL, NULL, NULL, NULL",
    "ends": "CASE WHEN i % 2 = 0 THEN '*.x' ELSE '#.y' END || i, NULL, NULL, NULL, NULL",
    "filters": f"""'{NAME}', NULL, NULL, '{{"order.id": {{"operator": "IN", "values": ["o-' || i || '"]}}}}', NULL""",
    "lists": f"""'{NAME}', NULL, NULL, '{{"total": {{"operator": "NUM_GT", "value": "10"}}, "order.id": '
        '{{"operator": "IN", "values": ["a-' || i || '", "b-' || i || '", "c-' || i % 9 || '"]}}}}', NULL""",
    "comparisons": f"""'{NAME}', NULL, NULL,
        '{{"total": {{"operator": "NUM_GT", "value": "' || 100 + i || '"}}}}', NULL""",
    "deleted": f"'{NAME}', NULL, NULL, NULL, 2",
}
"""By the kind of subscriptions: the name, tenant, execution, filter and number of deletion of number ``i``."""

AUDIENCES = {"executions": {"executionId": "execution-1"}, "tenants": {"tenantId": "tenant-1"}}
"""Whom the signals are for, if not for all: one of these subscriptions gets them."""

_INSERT = """
INSERT INTO subscriptions
    (name, is_pattern, tenant_id, execution_id, filter, until, once, schedule, kind, address, headers, since)
SELECT name, name ~ '[*#]', tenant_id, execution_id, filter::json, until::bigint, false, {target}, 1
FROM (SELECT i, {columns} FROM generate_series(1, $1::int) AS i) AS s (i, name, tenant_id, execution_id, filter, until)
"""
_RECORDED = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM signal_positions"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured beside *size* subscriptions of a *kind*; times in seconds, the memory in MiB."""

    kind: str
    size: int
    per_second: float
    recorder_cpu: float
    postgres_cpu: float
    peak: float
    accepting: float


def signal_for(kind: str, number: int = 0) -> dict[str, object]:
    """Return a throw beside subscriptions of a *kind*; each *number* is about another order."""
    payload = {"order": {"id": f"none-{number}"}, "total": 42, "text": "x" * 500}
    return {"name": NAME, "payload": payload, **AUDIENCES.get(kind, {})}


async def measure(directory: Path, postgres: PostgresServer, amqp: str, kind: str, size: int) -> Figures:
    """Return the figures of one gateway and one recorder process beside *size* subscriptions of a *kind*."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(postgres))
        database = await stack.enter_async_context(Database(url, timeout=timedelta(minutes=10)))
        await database.execute(_INSERT.format(columns=KINDS[kind], target=TARGET), size)
        await database.execute("SELECT setval('signal_ids', 10)")
        await database.execute("VACUUM ANALYZE")
        environment = {"STORE_URL": url, "TRANSPORT_URL": amqp, "LOG_LEVEL": "warning"}

        def process(*arguments: str) -> Process:
            return Process(*arguments, environment=environment, log=directory / "log", command=COMMAND)

        gateway = await stack.enter_async_context(process("gateway"))
        client = await stack.enter_async_context(client_of(gateway.url))
        signal = signal_for(kind)
        single = await post(
            gateway.url + "/v1/signals",
            json.dumps(signal).encode(),
            token=ADMIN_TOKEN,
            connections=CONNECTIONS,
            seconds=ACCEPTING_SECONDS,
        )
        await throw(client, kind, SIGNALS)
        thrown = SIGNALS + single.statuses[202]
        recorder = await stack.enter_async_context(process("worker", "recorder"))
        rate, recorder_cpu, postgres_cpu = await record(database, recorder, thrown)
        most = peak(recorder)
    return Figures(
        kind=kind,
        size=size,
        per_second=rate,
        recorder_cpu=recorder_cpu,
        postgres_cpu=postgres_cpu,
        peak=most,
        accepting=single.percentile(0.5),
    )


async def throw(client: Client, kind: str, count: int) -> None:
    """Throw so many signals beside subscriptions of a *kind*."""
    for start in range(0, count, BATCH):
        signals = [signal_for(kind, number) for number in range(start, start + BATCH)]
        await client.post("/v1/signals/batch", {"signals": signals}, expect=200)


async def record(database: Database, recorder: Process, count: int) -> tuple[float, float, float]:
    """Return how many of *count* signals are recorded a second, and the CPU time that each takes."""
    process = psutil.Process(recorder.process.pid)

    async def recorded() -> int:
        return int(await database.fetchval(_RECORDED))

    first = await eventually(recorded, within=120, every=0.005)
    start, before, before_servers = time.monotonic(), _cpu(process), await _servers_cpu(database)
    last = first
    while last < count and time.monotonic() - start < SECONDS:
        await asyncio.sleep(0.005)
        last = await recorded()
    if last == first:  # not even a second batch
        last = await eventually(lambda: _above(database, first), within=120, every=0.005)
    seconds, made = time.monotonic() - start, last - first
    servers = await _servers_cpu(database)
    used = sum(servers[pid] - before_servers.get(pid, 0.0) for pid in servers)
    return made / seconds, (_cpu(process) - before) / made, used / made


async def _above(database: Database, first: int) -> int:
    recorded = int(await database.fetchval(_RECORDED))
    return recorded if recorded > first else 0


async def _servers_cpu(database: Database) -> dict[int, float]:
    """Return the CPU time of each process of PostgreSQL that serves the database, by its id."""
    rows = await database.fetch("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    seconds = {}
    for row in rows:
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds[row["pid"]] = _cpu(psutil.Process(row["pid"]))
    return seconds


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def show(figures: Sequence[Figures]) -> None:
    """Print what was measured, each kind beside its smallest size."""
    table = Table(title=f"Recording {SIGNALS:,} signals and more beside subscriptions that they do not match")
    columns = (
        "kind",
        "subscriptions",
        "recorded/s",
        "ratio",
        "recorder CPU",
        "PostgreSQL CPU",
        "peak",
        "accepted, p50",
    )
    for column in (*columns, "ratio"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    smallest: dict[str, Figures] = {}
    for one in figures:
        least = smallest.setdefault(one.kind, one)
        table.add_row(
            one.kind,
            f"{one.size:,}",
            f"{one.per_second:,.1f}",
            f"{one.per_second / least.per_second:.2f}",
            f"{one.recorder_cpu * 1e6:,.0f} us",
            f"{one.postgres_cpu * 1e6:,.0f} us",
            f"{one.peak:,.0f} MiB",
            f"{one.accepting * 1e3:.2f} ms",
            f"{one.accepting / least.accepting:.2f}",
        )
    Console(width=130).print(table)


def main() -> None:
    """Start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", choices=[[], *KINDS], help=f"of {', '.join(KINDS)}")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="how many subscriptions, the fewest first")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    figures = []
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "rmq").mkdir()
        with postgres_server(directory / "pg") as postgres, rabbitmq_server(directory / "rmq") as rabbit:
            for kind in given.kinds or KINDS:
                for size in sizes:
                    with rabbit.vhost() as amqp:
                        figures.append(uvloop.run(measure(directory, postgres, amqp, kind, size)))
                    print(figures[-1], flush=True)
    show(figures)


if __name__ == "__main__":
    main()
