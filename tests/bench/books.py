"""How long the ledger and pages of lists take over a long history, and over none.

``python -m tests.bench.books 10000000`` makes it a longer one.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import uvloop

from broker.access import Permission, Principal
from broker.deliveries import Outcome
from broker.searches import Search
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.partitions.partitions import attach_tables, make_tables
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.store.subscriptions.waiting import SubscriptionFilter, WaitingStore
from tests.bench.rows import POSTGRESQL, Bench, Group, Row, Sample
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


async def insert_subscriptions(database: Database, count: int) -> None:
    """Make *count* subscriptions."""
    await database.execute(_SUBSCRIPTIONS, count)


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


@dataclass(frozen=True)
class History:
    """The stores of a database, and how many signals it has."""

    database: Database
    count: int

    @cached_property
    def signals(self) -> SignalStore:
        return SignalStore(self.database)

    @cached_property
    def deliveries(self) -> DeliveryStore:
        return DeliveryStore(self.database)

    @cached_property
    def subscriptions(self) -> SubscriptionStore:
        return SubscriptionStore(self.database)

    @cached_property
    def waiting(self) -> WaitingStore:
        return WaitingStore(self.database)


def _yesterday() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


ACME = Principal(name="acme", permissions=frozenset({Permission.READ}), tenants=("tenant-50",))
ASKED: dict[str, Callable[[History], Awaitable[object]]] = {
    "for comparison: every delivery, counted": lambda at: at.database.fetch(_COUNT),
    "ledger": lambda at: at.deliveries.ledger(),
    "ledger of one subscription": lambda at: at.deliveries.ledger(7),
    "signals: the first page": lambda at: at.signals.page(),
    "signals: the newest": lambda at: at.signals.page(descending=True),
    "signals: a page in the middle": lambda at: at.signals.page(after_id=at.count // 2),
    "signals: those after the last one": lambda at: at.signals.page(after_id=at.count),
    "signals: after one that is not recorded": lambda at: at.signals.page(after_id=at.count + 1),
    "signals: of a common name, in the middle": lambda at: at.signals.page(after_id=at.count // 2, name="common.3"),
    "signals: of a rare name, in the middle": lambda at: at.signals.page(after_id=at.count // 2, name="rare"),
    "signals: by an unknown name": lambda at: at.signals.page(name="nobody"),
    "signals: by a pattern without matches": lambda at: at.signals.page(name="nobody.#"),
    "signals: of one tenant": lambda at: at.signals.page(tenant_id="tenant-50"),
    "signals: by a source without signals": lambda at: at.signals.page(source="camunda"),
    "signals: by an unknown endpoint": lambda at: at.signals.page(source_id=7),
    "signals: cancelled": lambda at: at.signals.page(state="cancelled"),
    "signals: by an unknown business key": lambda at: at.signals.page(business_key="nobody"),
    "signals: by a value that no payload has": lambda at: at.signals.page(search=Search(values=(("policy", "43"),))),
    "signals: by a text that is nowhere": lambda at: at.signals.page(search=Search(text="nobody")),
    "signals: since yesterday": lambda at: at.signals.page(since=_yesterday()),
    "signals: of a rare name since yesterday": lambda at: at.signals.page(since=_yesterday(), name="rare"),
    "signals: until before the history": lambda at: at.signals.page(until=datetime(2000, 1, 1, tzinfo=UTC)),
    "signals: until yesterday, the last page": lambda at: at.signals.page(
        after_id=at.count - 86_450, until=_yesterday(), name="common.3"
    ),
    "deliveries: the first page": lambda at: at.deliveries.page(),
    "deliveries: the newest": lambda at: at.deliveries.page(descending=True),
    "deliveries: dead": lambda at: at.deliveries.page(state="dead"),
    "deliveries: parked": lambda at: at.deliveries.page(state="parked"),
    "deliveries: pending": lambda at: at.deliveries.page(state="pending"),
    "deliveries: cancelled": lambda at: at.deliveries.page(state="cancelled"),
    "deliveries: by an unknown name": lambda at: at.deliveries.page(name="nobody"),
    "deliveries: dead, of a rare name": lambda at: at.deliveries.page(name="rare", state="dead"),
    "deliveries: by an outcome without deliveries": lambda at: at.deliveries.page(outcome=Outcome.TIMED_OUT),
    "deliveries: dead, by an outcome without deliveries": lambda at: at.deliveries.page(
        state="dead", outcome=Outcome.TIMED_OUT
    ),
    "deliveries: by a status without deliveries": lambda at: at.deliveries.page(status=418),
    "deliveries: of one subscription": lambda at: at.deliveries.page(subscription_id=7),
    "deliveries: of one subscription, pending": lambda at: at.deliveries.page(subscription_id=7, state="pending"),
    "deliveries: of one subscription, dead": lambda at: at.deliveries.page(subscription_id=7, state="dead"),
    "deliveries: of one signal": lambda at: at.deliveries.page(signal_id=7),
    "deliveries: of one tenant": lambda at: at.deliveries.page(tenant_id="tenant-50"),
    "deliveries: that one tenant sees": lambda at: at.deliveries.page(by=ACME),
    "deliveries: of one host": lambda at: at.deliveries.page(host="host-7.example"),
    "deliveries: by an unknown host": lambda at: at.deliveries.page(host="nobody"),
    "deliveries: dead, since yesterday": lambda at: at.deliveries.page(state="dead", since=_yesterday()),
    "subscriptions: the first page": lambda at: at.subscriptions.page(),
    "subscriptions: by an unknown name": lambda at: at.subscriptions.page(name="nobody"),
    "subscriptions: by an unknown tenant": lambda at: at.subscriptions.page(tenant_id="nobody"),
    "subscriptions: by an unknown execution": lambda at: at.subscriptions.page(execution_id="nobody"),
    "subscriptions: by an unknown host": lambda at: at.subscriptions.page(host="nobody"),
    "subscriptions: paused": lambda at: at.subscriptions.page(state="paused"),
    "subscriptions: failing": lambda at: at.subscriptions.page(state="failing"),
    "event subscriptions: counted": lambda at: at.waiting.count(SubscriptionFilter()),
    "event subscriptions: of a name, counted": lambda at: at.waiting.count(SubscriptionFilter(name="nobody")),
    "event subscriptions: 10 by their moments": lambda at: at.waiting.find(
        SubscriptionFilter(), order="created", limit=10
    ),
    "event subscriptions: the 10 last ones": lambda at: at.waiting.find(
        SubscriptionFilter(), order="created", descending=True, limit=10
    ),
    "event subscriptions: 10 by their tenants": lambda at: at.waiting.find(
        SubscriptionFilter(), order="tenantId", limit=10
    ),
}
"""What is asked for, by its name."""


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Ask for each over a long history, and over none."""
    assert bench.postgres is not None
    for what, empty, long in await ask_all(bench.postgres, DELIVERIES):
        yield Sample(row=f"{row_name(what)}.empty", value=empty * 1000)
        yield Sample(row=row_name(what), value=long * 1000)


async def ask_all(postgres: PostgresServer, deliveries: int) -> list[tuple[str, float, float]]:
    """Return what was asked for, and the medians of the seconds that it took over no history and over a long one."""
    signals = deliveries // FAN_OUT
    async with (
        fresh_database(postgres) as none,
        fresh_database(postgres) as url,
        Database(none) as empty,
        Database(url, timeout=timedelta(minutes=10)) as database,
    ):
        await insert_subscriptions(database, MANY)
        await fill(database, signals)
        # What a second of a busy instance leaves for the next fold.
        await database.execute(
            "INSERT INTO ledger_deltas SELECT 1 + n % $1, 'delivered', 0 FROM generate_series(1, 10000) AS n",
            SUBSCRIPTIONS,
        )
        await database.execute("VACUUM ANALYZE")
        before, after = History(empty, signals), History(database, signals)
        return [(what, await _median(ask, before), await _median(ask, after)) for what, ask in ASKED.items()]


async def _median(ask: Callable[[History], Awaitable[object]], history: History) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        await ask(history)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def row_name(what: str) -> str:
    """Return the name of a row."""
    return f"books.{re.sub('[^a-z0-9]+', '-', what.lower())}"


GROUP = Group(
    name="books",
    title=f"Lists and the ledger over {DELIVERIES:,} deliveries and {MANY:,} subscriptions, beside none",
    needs=frozenset({POSTGRESQL}),
    rows=[
        row
        for what in ASKED
        for row in (
            Row(name=f"{row_name(what)}.empty", what=f"{what}, over no history", unit="ms", shown=False),
            Row(name=row_name(what), what=what, unit="ms", baseline=f"{row_name(what)}.empty"),
        )
    ],
    measure=measure,
)


def main(deliveries: int) -> None:
    """Print how long each takes over a history of another length."""
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        Path(name).chmod(0o755)
        with postgres_server(Path(name)) as server:
            for what, empty, long in uvloop.run(ask_all(server, deliveries)):
                print(f"{what:52} {empty * 1000:8,.1f} ms {long * 1000:8,.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]))
