"""How long the ledger and pages of lists take over a long history, and over none.

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

from broker.access import Permission, Principal
from broker.deliveries import Outcome
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.partitions.partitions import attach_tables, make_tables
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionFilter, SubscriptionStore
from tests.support.postgres import PostgresServer, fresh_database, postgres_server

DELIVERIES = 1_000_000
SUBSCRIPTIONS = 1000
"""As many have deliveries."""
MANY = 100_000
"""As many subscriptions are there."""
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
_ATTEMPTS = """
INSERT INTO attempts (signal_id, subscription_id, number, started_at, duration, outcome, status)
SELECT signal_id, subscription_id, 1, now(), 0.01, CASE state WHEN 'dead' THEN 'refused' ELSE 'succeeded' END, 200
FROM deliveries WHERE signal_id BETWEEN $1 AND $2
"""
# Ten names; one in ten has a tenant, every other one an execution of its own.
_SUBSCRIPTIONS = """
INSERT INTO subscriptions (name, is_pattern, tenant_id, execution_id, once, kind, address, headers, schedule, since)
SELECT 'common.' || n % 10, false, CASE WHEN n % 10 = 0 THEN 'tenant-' || n % 100 END,
       CASE WHEN n % 2 = 0 THEN 'execution-' || n END, false, 'webhook', 'https://host-' || n % 500 || '.example/hook',
       '{}', '{1,2}', 1
FROM generate_series(1, $1::int) AS n
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
        await database.execute(_ATTEMPTS, first, last)
        while await deliveries.fold_ledger(limit=10_000):
            pass


async def measure(postgres: PostgresServer, deliveries: int) -> list[tuple[str, float, float]]:
    """Return what was asked for, and the medians of the seconds that it took over no history and over a long one."""
    signals = deliveries // FAN_OUT
    async with (
        fresh_database(postgres) as none,
        fresh_database(postgres) as url,
        Database(none) as empty,
        Database(url, timeout=timedelta(minutes=10)) as database,
    ):
        await database.execute(_SUBSCRIPTIONS, MANY)
        await fill(database, signals)
        # What a second of a busy instance leaves for the next fold.
        await database.execute(
            "INSERT INTO ledger_deltas SELECT 1 + n % $1, 'delivered', 0 FROM generate_series(1, 10000) AS n",
            SUBSCRIPTIONS,
        )
        await database.execute("VACUUM ANALYZE")
        pairs = zip(asked(empty, signals).items(), asked(database, signals).values(), strict=True)
        return [(what, await _median(before), await _median(after)) for (what, before), after in pairs]


def asked(database: Database, signals: int) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return what is asked for, by its name."""
    store, books, subscriptions = SignalStore(database), DeliveryStore(database), SubscriptionStore(database)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    waiting = subscriptions.waiting
    acme = Principal(name="acme", permissions=frozenset({Permission.READ}), tenants=("tenant-50",))
    return {
        "for comparison: every delivery, counted": lambda: database.fetch(_COUNT),
        "ledger": books.ledger,
        "ledger of one subscription": lambda: books.ledger(7),
        "signals: the first page": store.page,
        "signals: the newest": lambda: store.page(descending=True),
        "signals: a page in the middle": lambda: store.page(after_id=signals // 2),
        "signals: those after the last one": lambda: store.page(after_id=signals),
        "signals: after one that is not recorded": lambda: store.page(after_id=signals + 1),
        "signals: of a common name, in the middle": lambda: store.page(after_id=signals // 2, name="common.3"),
        "signals: of a rare name, in the middle": lambda: store.page(after_id=signals // 2, name="rare"),
        "signals: by an unknown name": lambda: store.page(name="nobody"),
        "signals: by a pattern without matches": lambda: store.page(name="nobody.#"),
        "signals: of one tenant": lambda: store.page(tenant_id="tenant-50"),
        "signals: by a source without signals": lambda: store.page(source="camunda"),
        "signals: by an unknown endpoint": lambda: store.page(source_id=7),
        "signals: cancelled": lambda: store.page(state="cancelled"),
        "signals: by an unknown business key": lambda: store.page(business_key="nobody"),
        "signals: since yesterday": lambda: store.page(since=yesterday),
        "signals: of a rare name since yesterday": lambda: store.page(since=yesterday, name="rare"),
        "signals: until before the history": lambda: store.page(until=datetime(2000, 1, 1, tzinfo=UTC)),
        "signals: until yesterday, the last page": lambda: store.page(
            after_id=signals - 86_450, until=yesterday, name="common.3"
        ),
        "deliveries: the first page": books.page,
        "deliveries: the newest": lambda: books.page(descending=True),
        "deliveries: dead": lambda: books.page(state="dead"),
        "deliveries: parked": lambda: books.page(state="parked"),
        "deliveries: pending": lambda: books.page(state="pending"),
        "deliveries: cancelled": lambda: books.page(state="cancelled"),
        "deliveries: by an unknown name": lambda: books.page(name="nobody"),
        "deliveries: dead, of a rare name": lambda: books.page(name="rare", state="dead"),
        "deliveries: by an outcome without deliveries": lambda: books.page(outcome=Outcome.TIMED_OUT),
        "deliveries: dead, by an outcome without deliveries": lambda: books.page(
            state="dead", outcome=Outcome.TIMED_OUT
        ),
        "deliveries: by a status without deliveries": lambda: books.page(status=418),
        "deliveries: of one subscription": lambda: books.page(subscription_id=7),
        "deliveries: of one subscription, pending": lambda: books.page(subscription_id=7, state="pending"),
        "deliveries: of one subscription, dead": lambda: books.page(subscription_id=7, state="dead"),
        "deliveries: of one signal": lambda: books.page(signal_id=7),
        "deliveries: of one tenant": lambda: books.page(tenant_id="tenant-50"),
        "deliveries: that one tenant sees": lambda: books.page(by=acme),
        "deliveries: of one host": lambda: books.page(host="host-7.example"),
        "deliveries: by an unknown host": lambda: books.page(host="nobody"),
        "deliveries: dead, since yesterday": lambda: books.page(state="dead", since=yesterday),
        "subscriptions: the first page": subscriptions.page,
        "subscriptions: by an unknown name": lambda: subscriptions.page(name="nobody"),
        "subscriptions: by an unknown tenant": lambda: subscriptions.page(tenant_id="nobody"),
        "subscriptions: by an unknown execution": lambda: subscriptions.page(execution_id="nobody"),
        "subscriptions: by an unknown host": lambda: subscriptions.page(host="nobody"),
        "subscriptions: paused": lambda: subscriptions.page(state="paused"),
        "subscriptions: failing": lambda: subscriptions.page(state="failing"),
        "event subscriptions: counted": lambda: subscriptions.count_waiting(SubscriptionFilter()),
        "event subscriptions: of a name, counted": lambda: subscriptions.count_waiting(
            SubscriptionFilter(name="nobody")
        ),
        "event subscriptions: 10 by their moments": lambda: waiting(SubscriptionFilter(), order="created", limit=10),
        "event subscriptions: the 10 last ones": lambda: waiting(
            SubscriptionFilter(), order="created", descending=True, limit=10
        ),
        "event subscriptions: 10 by their tenants": lambda: waiting(SubscriptionFilter(), order="tenantId", limit=10),
    }


async def _median(ask: Callable[[], Awaitable[object]]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def show(postgres: PostgresServer, deliveries: int = DELIVERIES) -> None:
    """Measure and print."""
    signals = deliveries // FAN_OUT
    table = Table(title=f"Reading {deliveries:,} deliveries of {signals:,} signals, {MANY:,} subscriptions")
    table.add_column("what")
    for column in ("empty", "median", "ratio"):
        table.add_column(column, justify="right")
    for what, empty, seconds in uvloop.run(measure(postgres, deliveries)):
        table.add_row(what, f"{empty * 1000:,.1f} ms", f"{seconds * 1000:,.1f} ms", f"{seconds / empty:,.1f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        Path(name).chmod(0o755)
        with postgres_server(Path(name)) as server:
            show(server, *map(int, sys.argv[1:]))
