"""How long throws wait while `migrate` brings the full database of an earlier version up to date.

``python -m tests.bench.migrating 10000000`` makes it a larger one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import uvloop

from broker.store.postgres.database import Database
from broker.store.postgres.schema import STEPS, open_books, record_step
from broker.topology import RECORD, dead_letters
from broker.transport.rabbitmq import RabbitTransport
from tests.bench.books import SUBSCRIPTIONS, insert_subscriptions
from tests.bench.progress import reach
from tests.bench.report import show
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample, summarize
from tests.chaos.stack import Servers, Stack, stack_of
from tests.support.load import Throw, load
from tests.support.postgres import postgres_server, run_scripts, unmigrated
from tests.support.product import ADMIN_TOKEN, COMMAND
from tests.support.rabbitmq import rabbitmq_server
from tests.support.releases import previous_release

SIGNALS = 50_000
SINCE = "0010"
"""The newest step of version 0.1.0."""
RATE = 50.0
"""Throws per second."""
ROLES = {role: ("worker", role) for role in ("recorder", "deliverer", "scheduler")} | {"gateway": ("gateway",)}
CHUNK = 200_000
OWED_TO_ONE = 5
"""One signal in so many has a delivery, which had one attempt."""
CALM = 2.0
"""Seconds of load before `migrate` and after it."""

_SIGNALS = """
INSERT INTO signals (id, created_at, recorded_at, position, name, scope, tenant_id, payload, types, source)
SELECT id, at, at, id, 'common.' || id % 10, 'broadcast', CASE WHEN id % 10 = 0 THEN 'tenant-' || id % 100 END,
       $4, '{}', 'native'
FROM generate_series($1::bigint, $2::bigint) AS id,
     LATERAL (SELECT now() - make_interval(secs => ($3 - id) / 10.0)) AS s (at)
"""
_MATCHES = """
INSERT INTO matches (signal_id, subscription_ids)
SELECT id, CASE WHEN id % $3 = 0 THEN ARRAY[1 + id / $3 % 1000] ELSE '{}' END
FROM generate_series($1::bigint, $2::bigint) AS id
"""
_DELIVERIES = """
INSERT INTO deliveries (signal_id, subscription_id, state, attempts, finished_at)
SELECT id, 1 + id / $3 % 1000, 'delivered', 1, now()
FROM generate_series($1::bigint, $2::bigint) AS id WHERE id % $3 = 0
"""
_ATTEMPTS = """
INSERT INTO attempts (signal_id, subscription_id, number, started_at, duration, outcome, status)
SELECT id, 1 + id / $3 % 1000, 1, now(), 0.01, 'succeeded', 200
FROM generate_series($1::bigint, $2::bigint) AS id WHERE id % $3 = 0
"""
_LAG = "SELECT extract(epoch FROM max(recorded_at - created_at))::float FROM signals WHERE id > $1"
_SETTLED = """
SELECT signal_id FROM matches m
WHERE signal_id > $1 AND cardinality(subscription_ids) = (
    SELECT count(*) FROM deliveries d WHERE d.signal_id = m.signal_id AND d.signal_id > $1 AND state = 'delivered'
)
"""
_LONG, _PATIENCE = timedelta(minutes=10), timedelta(seconds=10)
_PAYLOAD = json.dumps({"policy": 42, "text": "x" * 200})


@dataclass(frozen=True, kw_only=True)
class Migration:
    """What came of a migration under load.

    Args:
        seconds: How long each step took, by its number.
        throws: All throws.
        held_up: Those that were under way while ``migrate`` ran.
        lag: The longest time (seconds) from a throw until its signal was recorded.
        dead: How many signals the recorder of the earlier version took for poison.
    """

    seconds: Mapping[str, float]
    throws: Sequence[Throw]
    held_up: Sequence[Throw]
    lag: float
    dead: int

    @property
    def longest(self) -> float:
        """The longest time (seconds) that a throw waited for its answer meanwhile."""
        return max(throw.ended - throw.begun for throw in self.held_up)

    @property
    def refused(self) -> int:
        """How many throws were answered with anything but a 2xx."""
        return sum(not throw.accepted for throw in self.throws)


async def fill(database: Database, signals: int) -> None:
    """Bring *database* to step `SINCE`, and make a history of that many signals in its first partition."""
    await run_scripts(database, to="0006")
    await database.execute("SELECT setval('signal_ids', $1)", signals)
    await run_scripts(database, after="0006", to=SINCE)
    async with database.transaction() as session:
        await open_books(session)
        for step in STEPS[: STEPS.index(SINCE) + 1]:
            await record_step(session, step)
    await insert_subscriptions(database, SUBSCRIPTIONS)
    for first in range(1, signals + 1, CHUNK):
        last = min(signals, first + CHUNK - 1)
        await database.execute(_SIGNALS, first, last, signals, _PAYLOAD)
        for statement in (_MATCHES, _DELIVERIES, _ATTEMPTS):
            await database.execute(statement, first, last, OWED_TO_ONE)
    await database.execute("SELECT setval('signal_positions', $1)", signals)
    await database.execute("ANALYZE")


async def migrate_full(bench: Bench, signals: int) -> Migration:
    """Fill a database of version 0.1.0, run that version, throw at it, and migrate meanwhile."""
    assert bench.postgres is not None
    assert bench.rabbit is not None
    directory = bench.directory / f"migrating-{uuid.uuid4().hex[:8]}"
    directory.mkdir()
    command = previous_release(directory, before=STEPS[STEPS.index(SINCE) + 1])
    async with unmigrated(bench.postgres.url) as empty, Database(empty.url, timeout=_LONG, size=2) as database:
        await fill(database, signals)
        with bench.rabbit.vhost() as vhost:
            environment = {"STORE_URL": database.url, "TRANSPORT_URL": vhost}
            async with stack_of(
                ROLES, environment, directory, random.Random(1), servers=Servers(vhost=vhost), command=command
            ) as stack:
                return await _migrate_under_load(stack, database, signals)


async def _migrate_under_load(stack: Stack, database: Database, signals: int) -> Migration:
    prefix = f"upgrade-{uuid.uuid4().hex[:8]}"
    subscription = {"name": f"{prefix}.#", "target": {"kind": "webhook", "url": stack.receiver.url()}}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, raise_for_status=True) as session,
        session.post(f"{stack.url}/v1/subscriptions", json=subscription),
    ):
        pass
    async with load(prefix, stack.gateways, rate=RATE, rng=stack.rng) as running:
        await asyncio.sleep(CALM)
        began = time.monotonic()
        seconds = await _migrate(database.url)
        ended = time.monotonic()
        await asyncio.sleep(CALM)

    async with RabbitTransport(stack.vhost) as transport:

        async def settled() -> int:
            rows = await database.fetch(_SETTLED, signals)
            dead = await transport.depth(dead_letters(RECORD), timeout=_PATIENCE)
            return len(running.accepted.keys() & {row["signal_id"] for row in rows}) + dead

        await reach(settled, len(running.accepted), every=1)
        dead = await transport.depth(dead_letters(RECORD), timeout=_PATIENCE)
    return Migration(
        seconds=seconds,
        throws=running.throws,
        held_up=[throw for throw in running.throws if throw.ended > began and throw.begun < ended],
        lag=await database.fetchval(_LAG, signals),
        dead=dead,
    )


async def _migrate(url: str) -> dict[str, float]:
    """Run ``migrate``, and return the seconds that each step took."""
    environment = os.environ | {
        "SIGNAL_BROKER_STORE_URL": url,
        "SIGNAL_BROKER_LOG_FORMAT": "json",
        "SIGNAL_BROKER_LOG_LEVEL": "debug",
    }
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "migrate", env=environment, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, log.decode()
    events = [json.loads(line) for line in log.splitlines()]
    return {event["step"]: event["seconds"] for event in events if event["event"] == "migration.applied"}


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Migrate a full database once: that takes minutes."""
    for sample in read_samples(await migrate_full(bench, SIGNALS)):
        yield sample


def read_samples(migration: Migration) -> Iterator[Sample]:
    """Yield a sample for each row."""
    waits = sorted(throw.ended - throw.begun for throw in migration.held_up)
    yield Sample(row="migrating.throws", value=len(waits))
    yield Sample(row="migrating.p99", value=waits[len(waits) * 99 // 100])
    yield Sample(row="migrating.longest", value=migration.longest)
    yield Sample(row="migrating.refused", value=migration.refused)
    yield Sample(row="migrating.lag", value=migration.lag)
    yield Sample(row="migrating.dead", value=migration.dead)
    for step, seconds in migration.seconds.items():
        yield Sample(row=f"migrating.{step}", value=seconds)
    yield Sample(row="migrating.whole", value=sum(migration.seconds.values()))


GROUP = Group(
    name="migrating",
    title=f"Migrating {SIGNALS:,} signals of version 0.1.0, at {RATE:g} throws per second",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(name="migrating.throws", what="throws meanwhile", unit="throws"),
        Row(name="migrating.p99", what="from a throw to its answer meanwhile, p99", unit="s"),
        Row(name="migrating.longest", what="... the longest", unit="s"),
        Row(name="migrating.refused", what="throws refused", unit="throws"),
        Row(name="migrating.lag", what="from a throw until it was recorded, the longest", unit="s"),
        Row(name="migrating.dead", what="signals that the old recorder took for poison", unit="signals"),
        *(Row(name=f"migrating.{step}", what=f"step {step}", unit="s") for step in STEPS[STEPS.index(SINCE) + 1 :]),
        Row(name="migrating.whole", what="all steps", unit="s"),
    ],
    measure=measure,
    apart=True,
)


def main(signals: int) -> None:
    """Print what comes of a database of another size."""
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "rmq").mkdir()
        with postgres_server(directory / "pg") as postgres, rabbitmq_server(directory / "rmq") as rabbit:
            bench = Bench(directory=directory, rounds=1, seconds=0, wanted=(), postgres=postgres, rabbit=rabbit)
            samples = read_samples(uvloop.run(migrate_full(bench, signals)))
            show(GROUP, list(summarize(GROUP.rows, samples)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
