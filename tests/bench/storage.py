"""What a signal leaves on disks: PostgreSQL's log (WAL) and tables, and what RabbitMQ writes, at each stage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

import psutil

from broker.store.postgres.database import Database
from tests.bench.progress import reach
from tests.bench.receiving import receiving
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import Stack, await_recorded, running, subscribe, throw_backlog
from tests.support.eventually import eventually

PER_SECOND = 2500
"""How many signals each stage has, for each second that a load lasts."""
REFUSED_EVERY = 4
"""One request of so many is refused, if any is: no circuit opens."""
IDLE, LOOKS = 2.0, 3
"""Seconds in which it is measured what is written while nothing happens, and how often; the least counts."""
SCHEDULE = [0.1] * 20
"""Seconds: nothing dies."""
TABLES = ("signals", "matches", "deliveries", "attempts")

_SIZE = "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = $1::text::regclass"
_ROWS = "SELECT count(*) FROM {table}"
_WAL = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"


@dataclass(frozen=True)
class Written:
    """Bytes: to PostgreSQL's log, and to disk by RabbitMQ (None: it is not of this machine); at a moment in seconds."""

    wal: float
    rabbitmq: float | None
    at: float = 0

    def since(self, before: Written) -> Written:
        """Return what was written beyond *before*."""
        both_known = self.rabbitmq is not None and before.rabbitmq is not None
        rabbitmq = (self.rabbitmq or 0) - (before.rabbitmq or 0) if both_known else None
        return Written(self.wal - before.wal, rabbitmq, self.at - before.at)

    def per(self, count: float) -> Written:
        """Return what was written for each of *count*."""
        return Written(self.wal / count, None if self.rabbitmq is None else self.rabbitmq / count)


class Meter:
    """Reads what was written.

    Args:
        database: The stack's.
        pid: Where RabbitMQ's tree of processes begins.
    """

    def __init__(self, database: Database, pid: int | None) -> None:
        self._database = database
        self._pid = pid
        self._idle = 0.0

    async def begin(self) -> Written:
        """Return what was written up to a checkpoint, after which each page that changes is logged whole once."""
        await self._database.execute("CHECKPOINT")
        return await self.read()

    async def learn_idle(self) -> None:
        """Measure what is written while nothing happens, which no stage is charged with."""
        windows = []
        for _ in range(LOOKS):
            before = await self.read()
            await asyncio.sleep(IDLE)
            windows.append((await self.read()).since(before))
        least = min(windows, key=lambda window: window.wal)
        self._idle = least.wal / least.at

    async def read(self) -> Written:
        """Return what was written, once the changes of the ledger are added up."""
        await eventually(self._is_folded, every=0.1)
        at, wal = time.perf_counter(), await self._database.fetchval(_WAL)
        return Written(wal - self._idle * at, _written(self._pid) if self._pid else None, at)

    async def _is_folded(self) -> bool:
        return not await self._database.fetchval("SELECT count(*) FROM ledger_deltas")

    async def sizes(self) -> dict[str, tuple[int, int]]:
        """Return how many bytes each table has, with its indexes, and how many rows."""
        await self._database.execute("VACUUM")
        return {
            table: (
                int(await self._database.fetchval(_SIZE, table)),
                int(await self._database.fetchval(_ROWS.format(table=table))),
            )
            for table in TABLES
        }


def _written(pid: int) -> int:
    root, total = psutil.Process(pid), 0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += process.io_counters().write_bytes
    return total


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Let signals pass each stage alone, one after the other."""
    for _ in range(bench.rounds):
        async with (
            running(bench, "scheduler") as stack,
            Database(stack.environment["STORE_URL"], timeout=timedelta(minutes=1), size=1) as database,
        ):
            meter = Meter(database, stack.pids["rabbitmq"])
            before = await meter.sizes()
            async with stack.worker("recorder"), stack.worker("deliverer"):
                await meter.learn_idle()
            async for sample in _pass_stages(stack, meter, int(PER_SECOND * bench.seconds)):
                yield sample
            for table, (size, rows) in (await meter.sizes()).items():
                yield Sample(row=f"storage.table.{table}", value=(size - before[table][0]) / rows)


async def _pass_stages(stack: Stack, meter: Meter, count: int) -> AsyncIterator[Sample]:
    """Accept signals, record them, record and deliver others, and deliver others again that are refused at first."""
    start = await meter.begin()
    accepted = await throw_backlog(stack.client, count)
    accept = (await meter.read()).since(start).per(accepted)
    start = await meter.begin()
    async with stack.worker("recorder"):
        await await_recorded(stack.client, accepted)
        record = (await meter.read()).since(start).per(accepted)
    once, _ = await _record_and_deliver(stack, meter, count, refused_every=0)
    deliver = once.since(record)
    again, attempts = await _record_and_deliver(stack, meter, count, refused_every=REFUSED_EVERY)
    attempt = again.since(once).per(attempts - 1)
    for stage, written in (("accept", accept), ("record", record), ("deliver", deliver), ("attempt", attempt)):
        yield Sample(row=f"storage.wal.{stage}", value=written.wal)
        if written.rabbitmq is not None:
            yield Sample(row=f"storage.rabbitmq.{stage}", value=written.rabbitmq)


async def _record_and_deliver(stack: Stack, meter: Meter, count: int, *, refused_every: int) -> tuple[Written, float]:
    """Return what was written for each signal that one webhook gets, and how many attempts each took."""
    async with receiving(refused_every=refused_every) as receiver:
        subscription = await subscribe(stack.client, receiver, retry={"schedule": SCHEDULE})
        thrown = await throw_backlog(stack.client, count)
        start = await meter.begin()
        async with stack.worker("recorder"), stack.worker("deliverer"):

            async def delivered() -> int:
                ledger = await stack.client.get(f"/v1/ledger?subscriptionId={subscription}")
                return int(ledger["deliveries"]["delivered"])

            await reach(delivered, thrown, every=0.1)
            written = (await meter.read()).since(start).per(thrown)
        status, _, body = await stack.client.request("DELETE", f"/v1/subscriptions/{subscription}")
        assert status == HTTPStatus.NO_CONTENT, body
        return written, receiver.requests / thrown


STAGES = {
    "accept": "accepted, in batches",
    "record": "recorded, nothing matches",
    "deliver": "one delivery: matched, recorded and delivered by one attempt",
    "attempt": "one more attempt: refused, parked, and released",
}
GROUP = Group(
    name="storage",
    title="What a signal of 1 KB leaves on disks",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        *(
            Row(name=f"storage.{server}.{stage}", what=f"{written}: {what}", unit="bytes")
            for server, written in (("wal", "PostgreSQL's log"), ("rabbitmq", "RabbitMQ's disk"))
            for stage, what in STAGES.items()
        ),
        *(
            Row(name=f"storage.table.{table}", what=f"a row of `{table}`, with its share of the indexes", unit="bytes")
            for table in TABLES
        ),
    ],
    measure=measure,
    apart=True,
)
