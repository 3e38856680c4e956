"""How long the ledger and pages of signals take over a long history.

``python -m tests.bench.books 10000000`` makes it a longer one.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.partitions.partitions import attach_tables, make_tables
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from tests.support.postgres import PostgresServer, fresh_database, postgres_server

DELIVERIES = 1_000_000
SUBSCRIPTIONS = 1000
FAN_OUT = 5
CHUNK = 100_000
REPEATS = 7
BLOCKS = 17
"""As many as there are after a whole retention."""

# A signal a second, each to five subscriptions. One name in a thousand is rare; the tenants' signals are one in ten.
_SIGNALS = """
INSERT INTO signals (id, created_at, recorded_at, position, name, scope, tenant_id, payload, types, source)
SELECT id, now() - make_interval(secs => $3 - id), now() - make_interval(secs => $3 - id), id,
       CASE WHEN id % 1000 = 0 THEN 'rare' ELSE 'common.' || id % 10 END,
       'broadcast', CASE WHEN id % 10 = 0 THEN 'tenant-' || id % 100 END, '{"policy": 42}', '{}', 'native'
FROM generate_series($1::bigint, $2::bigint) AS id
"""
_MATCHES = """
INSERT INTO matches (signal_id, subscription_ids)
SELECT id, ARRAY(SELECT 1 + (id * $3 + n) % $4 FROM generate_series(1, $3) AS n)
FROM generate_series($1::bigint, $2::bigint) AS id
"""
_DELIVERIES = """
INSERT INTO deliveries (signal_id, subscription_id, state)
SELECT id, 1 + (id * $3 + n) % $4, CASE WHEN (id + n) % 1000 = 0 THEN 'dead' ELSE 'delivered' END
FROM generate_series($1::bigint, $2::bigint) AS id, generate_series(1, $3) AS n
"""
_COUNT = "SELECT state, count(*) FROM deliveries GROUP BY state"


async def cut(database: Database, signals: int) -> None:
    """Make the partitions for ids up to *signals*, instead of the first one."""
    step = signals // BLOCKS + 1
    async with database.transaction() as session:
        await session.execute("DROP TABLE signals_1, matches_1, deliveries_1, attempts_1; DELETE FROM blocks")
        for first_id in range(1, signals + 1, step):
            await make_tables(session, first_id)
            await attach_tables(session, first_id, first_id + step)
            await session.execute("INSERT INTO blocks (first_id, next_id) VALUES ($1, $2)", first_id, first_id + step)


async def fill(database: Database, signals: int) -> None:
    """Make a history of that many signals, as the recorders, deliverers and schedulers would have left it."""
    deliveries = DeliveryStore(database)
    await cut(database, signals)
    for first in range(1, signals + 1, CHUNK // FAN_OUT):
        last = min(signals, first + CHUNK // FAN_OUT - 1)
        await database.execute(_SIGNALS, first, last, signals)
        await database.execute(_MATCHES, first, last, FAN_OUT, SUBSCRIPTIONS)
        await database.execute(_DELIVERIES, first, last, FAN_OUT, SUBSCRIPTIONS)
        while await deliveries.fold_ledger(limit=10_000):
            pass
    await database.execute("VACUUM ANALYZE")


async def measure(postgres: PostgresServer, deliveries: int) -> list[tuple[str, float]]:
    """Return what was asked for, and the median of the seconds that it took."""
    signals = deliveries // FAN_OUT
    async with fresh_database(postgres) as url, Database(url, timeout=timedelta(minutes=10)) as database:
        await fill(database, signals)
        store, books = SignalStore(database), DeliveryStore(database)
        # What a second of a busy instance leaves for the next fold.
        await database.execute(
            "INSERT INTO ledger_deltas SELECT 1 + n % $1, 'delivered', 0 FROM generate_series(1, 10000) AS n",
            SUBSCRIPTIONS,
        )
        yesterday = datetime.now(UTC) - timedelta(days=1)
        asked: dict[str, Callable[[], Awaitable[object]]] = {
            "for comparison: every delivery, counted": lambda: database.fetch(_COUNT),
            "ledger": books.ledger,
            "ledger of one subscription": lambda: books.ledger(7),
            "signals: the first page": store.page,
            "signals: a page in the middle": lambda: store.page(after_id=signals // 2),
            "signals: those after the last one": lambda: store.page(after_id=signals),
            "signals: after one that is not recorded": lambda: store.page(after_id=signals + 1),
            "signals: of a common name, in the middle": lambda: store.page(after_id=signals // 2, name="common.3"),
            "signals: of a rare name, in the middle": lambda: store.page(after_id=signals // 2, name="rare"),
            "signals: of a name that is not there": lambda: store.page(name="nobody"),
            "signals: of one tenant": lambda: store.page(tenant_id="tenant-50"),
            "signals: since yesterday": lambda: store.page(since=yesterday),
            "signals: of a rare name since yesterday": lambda: store.page(since=yesterday, name="rare"),
            "signals: until yesterday, the last page": lambda: store.page(
                after_id=signals - 86_450, until=yesterday, name="common.3"
            ),
        }
        return [(what, await _median(ask)) for what, ask in asked.items()]


async def _median(ask: Callable[[], Awaitable[object]]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def show(postgres: PostgresServer, deliveries: int = DELIVERIES) -> None:
    """Measure and print."""
    table = Table(title=f"Reading, with {deliveries:,} deliveries of {deliveries // FAN_OUT:,} signals")
    table.add_column("what")
    table.add_column("median", justify="right")
    for what, seconds in uvloop.run(measure(postgres, deliveries)):
        table.add_row(what, f"{seconds * 1000:,.1f} ms")
    Console(width=130).print(table)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        Path(name).chmod(0o755)
        with postgres_server(Path(name)) as server:
            show(server, *map(int, sys.argv[1:]))
