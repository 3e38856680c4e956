"""The schema is brought up to date while everybody goes on: nobody waits for long, and nobody fails."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from broker.errors import StoreRefusal
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres import migrate as migrating
from broker.store.postgres import schema
from broker.store.postgres.concurrent_steps import apply_concurrently
from broker.store.postgres.database import Database
from broker.store.postgres.migrate import StepRefused, migrate
from broker.store.postgres.schema import MIGRATIONS, NEEDED, STEPS, open_books, record_step, revision
from tests.support.eventually import eventually
from tests.support.postgres import run_scripts, unmigrated

pytestmark = pytest.mark.slow

BACKUP = "LOCK TABLE subscriptions, deliveries, signals IN ACCESS SHARE MODE"
"""What a backup holds as long as it runs."""
IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
IS_UNFINISHED = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass($1) AND NOT indisvalid)"
STEP = """
-- A step as it may come.
DROP INDEX CONCURRENTLY IF EXISTS newer_of_deliveries;
CREATE INDEX CONCURRENTLY newer_of_deliveries ON deliveries (due_at) WHERE state = 'parked';
CREATE INDEX CONCURRENTLY newer_of_samples ON samples (app);
"""


async def bring(database, *, to):
    """Apply the steps up to *to*, as an earlier version of the product had done."""
    await run_scripts(database, to=to)
    async with database.transaction() as session:
        await open_books(session)
        for step in STEPS[: STEPS.index(to) + 1]:
            await record_step(session, step)


@asynccontextmanager
async def reading(database, waits):
    """Read a table that steps change, all the time; add to *waits* how long each time took, in seconds."""

    async def read():
        while True:
            began = time.perf_counter()
            await database.fetchval("SELECT count(*) FROM subscriptions")
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(read())
    yield
    task.cancel()


async def test_behind_a_backup_it_waits_and_lets_everybody_pass(postgres_url):
    async with unmigrated(postgres_url) as database:
        await bring(database, to="0027")
        waits = []
        with capture_logs() as logs:
            async with reading(database, waits):
                async with database.transaction() as backup:
                    await backup.execute(BACKUP)
                    migration = asyncio.create_task(migrate(database.url))
                    [told] = await eventually(lambda: [log for log in logs if log["event"] == "migration.waits"])
                    seen = len(waits)
                    await eventually(lambda: len(waits) > seen + 100)
                    assert not migration.done()
                await migration
        assert await revision(database) == NEEDED
        assert max(waits) < 1
        assert told["step"] == "0028"
        assert any("signal-broker" in holder for holder in told["held_by"])


async def test_a_timeout_of_the_database_or_the_role_ends_no_step(postgres_url):
    async with unmigrated(postgres_url) as database:
        await bring(database, to="0027")
        name = await database.fetchval("SELECT current_database()")
        await database.execute(f"ALTER DATABASE {name} SET statement_timeout = '200ms'")
        with capture_logs() as logs:
            async with database.transaction() as backup:
                await backup.execute(BACKUP)
                migration = asyncio.create_task(migrate(database.url))
                await eventually(lambda: migration.done() or any(log["event"] == "migration.waits" for log in logs))
            await migration
        assert await revision(database) == NEEDED


async def test_one_that_waits_for_another_says_for_which_one(postgres_url, monkeypatch):
    """Its session may be gone as well, and its lock not: behind a pooler, say."""
    monkeypatch.setattr(schema, "_REPORTS", 0.5)
    async with unmigrated(postgres_url) as database:
        with capture_logs() as logs:
            async with database.dedicated_session() as other:
                await schema.lock_schema(other)
                pid = await other.fetchval("SELECT pg_backend_pid()")
                migration = asyncio.create_task(migrate(database.url))
                told = await eventually(lambda: [log for log in logs if log["event"] == "migration.waits"])
                assert not migration.done()
            await migration
        assert told[0]["held_by"] == [f"pid {pid} signal-broker command"]
        assert await revision(database) == NEEDED


@pytest.mark.parametrize(
    ("since", "tables"),
    [
        ("0005", ("deliveries", "signals", "subscriptions")),
        ("0026", ("subscriptions", "signals", "deliveries")),
        ("0026", ("deliveries", "circuits", "signals", "subscriptions")),
    ],
)
async def test_it_passes_those_who_are_always_there_and_lock_in_another_order(since, tables, postgres_url):
    async with unmigrated(postgres_url) as database:
        await bring(database, to=since)
        stopping, rng, done, deadlocks = asyncio.Event(), random.Random(1), [], []

        async def work():
            while not stopping.is_set():
                try:
                    async with database.transaction() as session:
                        for table in tables:
                            await session.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
                            await asyncio.sleep(rng.uniform(0, 0.03))
                    done.append(1)
                except StoreRefusal as error:
                    deadlocks.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(work())
            await eventually(lambda: len(done) > 10)
            async with asyncio.timeout(40):
                await migrate(database.url)
            stopping.set()
        assert await revision(database) == NEEDED
        assert not deadlocks


AUTOVACUUM = """
INSERT INTO subscriptions (name, is_pattern, once, kind, address, headers, schedule, since)
SELECT 'a', false, false, 'queue', 'q', '{}', '{}', 1 FROM generate_series(1, 5000);
DELETE FROM subscriptions;
ALTER TABLE subscriptions SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
"""
"""What autovacuum takes minutes for."""


async def test_autovacuum_gives_way(postgres_url):
    at_work = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM % public.subscriptions')"
    )
    async with Database(postgres_url, size=1) as server, unmigrated(postgres_url) as database:
        await bring(database, to="0027")
        await database.execute(AUTOVACUUM)
        await server.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        try:
            await server.execute("SELECT pg_reload_conf()")
            await eventually(lambda: database.fetchval(at_work))
            await migrate(database.url)
        finally:
            await server.execute("ALTER SYSTEM RESET autovacuum_naptime")
            await server.execute("SELECT pg_reload_conf()")
        assert await revision(database) == NEEDED


DELIVERIES = """
INSERT INTO deliveries (signal_id, subscription_id, state) SELECT n, 1, 'delivered' FROM generate_series(1, 99999) AS n
"""


async def test_indexes_of_large_tables_are_built_ahead_of_a_step_that_does_not_get_its_locks(postgres_url):
    """Step 0027 builds them in one transaction, before it locks subscriptions: it built them again each time."""
    async with unmigrated(postgres_url) as database:
        await bring(database, to="0026")
        await database.execute(DELIVERIES)
        with capture_logs() as logs:
            async with database.transaction() as backup:
                await backup.execute("LOCK TABLE subscriptions IN ACCESS SHARE MODE")
                migration = asyncio.create_task(migrate(database.url))
                [told] = await eventually(lambda: [log for log in logs if log["event"] == "migration.waits"])
                assert told["step"] == "0027"
                assert await database.fetchval(IS_VALID, "deliveries_parked_in_order")
                assert await database.fetchval(IS_VALID, "deliveries_cancelled")
                assert await database.fetchval("SELECT to_regclass('signals_by_state')") is None
            await migration
        assert await revision(database) == NEEDED
        assert await database.fetchval(IS_VALID, "signals_by_state")
        assert not await database.fetchval("SELECT EXISTS (SELECT FROM pg_index WHERE NOT indisvalid)")


async def test_an_index_that_needs_what_its_step_creates_is_built_by_the_step(postgres_url):
    """Step 0015 has the column; the index of step 0033 takes the name of one that it drops."""
    async with unmigrated(postgres_url) as database:
        await bring(database, to="0014")
        await database.execute(DELIVERIES)
        await migrate(database.url)
        assert await revision(database) == NEEDED
        assert await database.fetchval(IS_VALID, "deliveries_expiring")
        definition = await database.fetchval("SELECT pg_get_indexdef('deliveries_due'::regclass)")
        assert "due_at IS NOT NULL" in definition


async def test_the_log_tells_how_long_each_step_took_and_those_that_took_long_without_being_asked(
    postgres_url, monkeypatch
):
    for limit, level in ((60.0, "debug"), (0.0, "info")):
        monkeypatch.setattr(migrating, "_LONG", limit)
        async with unmigrated(postgres_url) as database:
            with capture_logs() as logs:
                await migrate(database.url)
        told = [log for log in logs if log["event"] == "migration.applied"]
        assert [log["step"] for log in told] == list(STEPS)
        assert {log["log_level"] for log in told} == {level}
        assert all(0 <= log["seconds"] < 60 for log in told)


async def once(session, work):
    async with session.transaction():
        await work()


@pytest.fixture
async def session(database):
    async with database.dedicated_session(timeout=timedelta(minutes=2)) as session:
        yield session


async def build(session, script=STEP):
    await apply_concurrently(session, script, lambda work: once(session, work))


async def partitions(database):
    """Return how many partitions of deliveries have a part of the new index, and how many there are."""
    parts = await database.fetchval(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'newer_of_deliveries'::regclass"
    )
    return parts, await database.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'deliveries'::regclass")


async def test_indexes_of_partitioned_tables_are_built_for_each_partition_and_for_later_ones(database, session):
    store = PartitionStore(database)
    await store.cover([1, 20_000_000])
    await build(session)
    assert await database.fetchval(IS_VALID, "newer_of_deliveries")
    assert await database.fetchval(IS_VALID, "newer_of_samples")
    before = await partitions(database)
    await store.cover([40_000_000])
    after = await partitions(database)
    assert before[0] == before[1] >= 2
    assert after[0] == after[1] > before[1]
    await build(session)
    assert await partitions(database) == after


@pytest.mark.parametrize("table", ["deliveries_1", "samples"])
async def test_a_build_that_was_interrupted_is_begun_again_and_nobody_waits_for_it(database, session, table):
    """A transaction that has written holds it up."""
    await PartitionStore(database).cover([1])
    async with database.transaction() as old:
        await old.execute(f"DELETE FROM {table} WHERE false")
        building = asyncio.create_task(build(session))
        await eventually(lambda: database.fetchval(IS_UNFINISHED, table))
        async with asyncio.timeout(5):
            await database.execute(f"DELETE FROM {table}")
        building.cancel()
        await asyncio.wait([building])
    async with database.dedicated_session() as another:
        await build(another)
    for index in ("newer_of_deliveries", "newer_of_samples"):
        assert await database.fetchval(IS_VALID, index)
    assert not await database.fetchval("SELECT EXISTS (SELECT FROM pg_index WHERE NOT indisvalid)")


@pytest.mark.parametrize("then", ["", "DROP TABLE deliveries_1"])
async def test_a_partition_that_goes_meanwhile_needs_no_part(database, session, then):
    await PartitionStore(database).cover([1, 20_000_000])
    turns = []

    async def once_it_is_gone(work):
        turns.append(work)
        if len(turns) == 2:  # the first part is attached
            await database.execute(f"ALTER TABLE deliveries DETACH PARTITION deliveries_1; {then}")
        await once(session, work)

    await apply_concurrently(session, STEP, once_it_is_gone)
    assert await database.fetchval(IS_VALID, "newer_of_deliveries")


async def test_a_step_of_the_schema_may_be_of_that_kind_and_many_processes_may_migrate_at_once(
    postgres_url, tmp_path, monkeypatch
):
    later = f"{int(NEEDED) + 1:04}"
    for step in STEPS:
        (tmp_path / f"{step}.sql").symlink_to(MIGRATIONS / f"{step}.sql")
    (tmp_path / f"{later}.sql").write_text(STEP)
    async with unmigrated(postgres_url) as database:
        await migrate(database.url)
        monkeypatch.setattr(migrating, "MIGRATIONS", tmp_path)
        monkeypatch.setattr(migrating, "STEPS", (*STEPS, later))
        monkeypatch.setattr(schema, "NEEDED", later)
        await asyncio.gather(*(migrate(database.url) for _ in range(4)))
        assert await revision(database) == later
        assert await database.fetchval(IS_VALID, "newer_of_deliveries")


async def test_one_that_is_refused_names_the_step(postgres_url, tmp_path, monkeypatch):
    later = f"{int(NEEDED) + 1:04}"
    (tmp_path / f"{later}.sql").write_text("CREATE INDEX CONCURRENTLY newer ON nowhere (a);")
    async with unmigrated(postgres_url) as database:
        await migrate(database.url)
        monkeypatch.setattr(migrating, "MIGRATIONS", tmp_path)
        monkeypatch.setattr(migrating, "STEPS", (*STEPS, later))
        monkeypatch.setattr(schema, "NEEDED", later)
        with pytest.raises(StepRefused, match=f'^step {later} of the schema was refused: .*"nowhere" does not exist'):
            await migrate(database.url)
