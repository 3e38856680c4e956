"""How long a signal takes to be recorded that very many subscriptions match, and what others notice of that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from broker.store.postgres.database import Database
from tests.bench.bodies import SIGNAL
from tests.bench.memory import peak
from tests.bench.progress import reach
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import running
from tests.support.product import Client

SIZES = (100_000, 1_000_000)
BETWEEN = 0.01
"""Seconds between the signals that are thrown meanwhile."""
_ALONE = 5.0
"""Seconds for which they are thrown alone before."""
_INSERT = """
INSERT INTO subscriptions (name, is_pattern, once, schedule, kind, address, headers, since)
SELECT $2, false, false, '{1,2}', 'webhook', 'https://host-' || i % 500 || '.example/hook', '{}', 1
FROM generate_series(1, $1::int) AS i
"""
_PROGRESS = "SELECT coalesce(max(after_id + finished::int), 0) FROM wide_recordings"
"""The id of the last subscription that a chunk looked at, and 1 at the end."""
_LAG = """
SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM recorded_at - created_at)::float8)
FROM signals WHERE name = 'bench.other' AND created_at BETWEEN $1 AND $2
"""


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure each size in turn, from the least on."""
    for _ in range(bench.rounds):
        for size in SIZES:
            if bench.wants(f"wide.{size}"):
                async for sample in reaching(bench, size):
                    yield sample


async def reaching(bench: Bench, size: int) -> AsyncIterator[Sample]:
    """Throw a signal that *size* subscriptions match, while others are thrown and recorded."""
    async with (
        running(bench, "scheduler") as stack,
        stack.worker("recorder") as recorder,
        Database(stack.environment["STORE_URL"], timeout=timedelta(minutes=10), size=1) as database,
    ):
        await database.execute(_INSERT, size, SIGNAL["name"])
        await database.execute(_INSERT, 1, "bench.other")
        await database.execute("SELECT setval('signal_ids', 10)")
        await database.execute("VACUUM ANALYZE")

        async def progress() -> int:
            return int(await database.fetchval(_PROGRESS))

        async def recorded() -> int:
            return int((await stack.client.get("/v1/ledger"))["recorded"])

        async with throwing(stack.client) as others:
            began = datetime.now(UTC)
            await asyncio.sleep(_ALONE)
            thrown, start = datetime.now(UTC), time.perf_counter()
            await stack.client.post("/v1/signals", SIGNAL)
            await reach(progress, size + 1)
            yield Sample(row=f"wide.{size}.recorded", value=time.perf_counter() - start)
            ended = datetime.now(UTC)
        await reach(recorded, others.accepted + 1)
        yield Sample(row=f"wide.{size}.memory", value=peak(recorder))
        for row, first, last in (("alone", began, thrown), ("beside", thrown, ended)):
            lag = await database.fetchval(_LAG, first, last)
            yield Sample(row=f"wide.{size}.{row}", value=float(lag) * 1000)


@dataclass
class Others:
    """What `throwing` yields: how many signals were accepted."""

    accepted: int = 0


@asynccontextmanager
async def throwing(client: Client) -> AsyncIterator[Others]:
    """Throw other signals one after the other until the block is left."""
    others = Others()

    async def throw() -> None:
        while True:
            await client.post("/v1/signals", SIGNAL | {"name": "bench.other"})
            others.accepted += 1
            await asyncio.sleep(BETWEEN)

    task = asyncio.create_task(throw())
    try:
        yield others
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


GROUP = Group(
    name="wide",
    title="One signal that very many subscriptions match",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(
            name=f"wide.{size}.{name}",
            what=f"{size:,}: {what}",
            unit=unit,
            baseline=baseline and f"wide.{size}.{baseline}",
            target=target,
        )
        for size in SIZES
        for name, what, unit, baseline, target in (
            ("recorded", "recorded, with a delivery for each", "s", None, None),
            ("memory", "most memory of the recorder", "MiB", None, None),
            ("alone", "another signal recorded before, p99", "ms", None, None),
            ("beside", "another signal recorded meanwhile, p99", "ms", "alone", "<= 1.5"),
        )
    ],
    measure=measure,
    apart=True,
)
