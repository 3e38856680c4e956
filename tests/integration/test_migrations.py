"""Each step takes over what is there."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files

from broker.signals import Signal, Throw
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from tests.integration.test_ledger import compare
from tests.support.postgres import on_database

RESCUE_AFTER = timedelta(seconds=30)
SCRIPTS = {
    step.name.removesuffix(".sql"): step.read_text()
    for step in (files("broker.store.postgres") / "migrations").iterdir()
    if step.name.endswith(".sql")
}
TABLES = ("signals", "matches", "deliveries", "attempts")

DEFINITION = """
SELECT 'table' AS kind, $1::text AS name, obj_description($1::text::regclass) AS definition
UNION ALL
SELECT 'column', attname, concat_ws(' ', attnum, format_type(atttypid, atttypmod), attnotnull, attstorage,
       pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = $1::text::regclass AND attnum > 0
UNION ALL
SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass
UNION ALL
SELECT 'index', indexrelid::regclass::text, replace(pg_get_indexdef(indexrelid), ' ONLY ', ' ')
FROM pg_index WHERE indrelid = $1::text::regclass
UNION ALL
SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1::text::regclass
"""


@asynccontextmanager
async def unmigrated(server_url: str, name: str) -> AsyncIterator[Database]:
    """Yield an empty database."""
    async with Database(server_url, size=1) as server:
        await server.execute(f"CREATE DATABASE {name}")
        try:
            async with Database(on_database(server_url, name)) as database:
                yield database
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def migrate(database, *, after="", to):
    for step in sorted(SCRIPTS):
        if after < step <= to:
            await database.execute(SCRIPTS[step])


async def definition(database, table):
    rows = await database.fetch(DEFINITION, table)
    return {(row["kind"], row["name"]): row["definition"] for row in rows}


def signal(signal_id):
    return Signal(id=signal_id, created_at=datetime.now(UTC), throw=Throw(name="a"))


async def test_the_ledger_and_the_positions_are_made_of_what_is_there(postgres_url):
    async with unmigrated(postgres_url, "migrated_to_ledger") as database:
        await migrate(database, to="0005")
        await database.execute("""
            INSERT INTO signals (id, created_at, name, scope, payload, types, source)
            SELECT id, now(), 'a', 'broadcast', '{}', '{}', 'native'
            FROM generate_series(10, 14, 2) AS id;
            INSERT INTO matches VALUES (10, '{1,2}'), (12, '{2}');
            INSERT INTO deliveries VALUES (10, 1, 'dead'), (10, 2, 'pending'), (12, 2, 'delivered');
        """)
        await migrate(database, after="0005", to="9999")
        assert [(await compare(database, of)).matched for of in (None, 1, 2, 3)] == [3, 1, 2, 0]
        assert [signal.id for signal in await SignalStore(database).page(after_id=10)] == [12, 14]
        await SignalStore(database).record([signal(11), signal(14)], rescue_after=RESCUE_AFTER)
        assert (await compare(database)).recorded == 4
        assert [signal.id for signal in await SignalStore(database).page(after_id=12)] == [14, 11]


async def test_the_tables_become_the_first_block_and_stay_what_they_are(postgres_url):
    async with unmigrated(postgres_url, "migrated_to_blocks") as database:
        await migrate(database, to="0006")
        before = {table: await definition(database, table) for table in TABLES}
        await SignalStore(database).number([(Throw(name="a"), None)] * 20)
        await database.execute("""
            INSERT INTO signals (id, created_at, name, scope, payload, types, source, position)
            SELECT id, now(), 'a', 'broadcast', '{}', '{}', 'native', id FROM generate_series(10, 14, 2) AS id;
            INSERT INTO matches VALUES (10, '{1,2}'), (12, '{2}'), (14, '{}');
            INSERT INTO deliveries VALUES (10, 1, 'dead'), (10, 2, 'pending'), (12, 2, 'delivered');
            INSERT INTO attempts VALUES (10, 1, 1, now(), 0.1, 'refused');
        """)
        await migrate(database, after="0006", to="0007")
        for table in TABLES:
            after = await definition(database, table)
            after.pop(("index", "signals_for_later"), None)
            assert after == before[table]
        parts = await database.fetch("SELECT relname, reloptions FROM pg_class WHERE relname = 'deliveries_1'")
        assert [(row["relname"], row["reloptions"]) for row in parts] == [("deliveries_1", ["fillfactor=80"])]
        doubled = [kind for kind, _ in itertools.chain(*[await definition(database, f"{t}_1") for t in TABLES])]
        assert "trigger" not in doubled, "what is changed is counted once"

        await migrate(database, after="0007", to="9999")
        await compare(database)
        (partition,) = await PartitionStore(database).all()
        assert (partition.first_id, partition.next_id) == (1, 1_000_020), "long, because older recorders make no blocks"
        assert partition.opened_at is not None
        assert [signal.id for signal in await SignalStore(database).page()] == [10, 12, 14]
        assert len(await DeliveryStore(database).attempts((10, 1))) == 1
        await SignalStore(database).record([signal(11), signal(14), signal(30)], rescue_after=RESCUE_AFTER)
        assert (await compare(database)).recorded == 5
