"""Each step takes over what is there."""

from __future__ import annotations

import asyncio
import itertools
import uuid

import pytest

from broker.errors import ConfigurationError, StoreRefusal
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database
from broker.store.postgres.migrate import StepRefused, migrate
from broker.store.postgres.schema import NEEDED, STEPS, applied, open_books, revision
from broker.store.signals.signals import SignalStore
from tests.integration.test_ledger import compare
from tests.support.builders import RESCUE_AFTER, signal
from tests.support.eventually import eventually
from tests.support.listing import listed
from tests.support.postgres import on_database, run_scripts, unmigrated
from tests.support.roles import role_of

ALEMBIC = """
CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version VALUES ('0010');
"""
"""What alembic left beside the tables of version 0.1.0's first ten steps."""
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


async def definition(database, table):
    rows = await database.fetch(DEFINITION, table)
    return {(row["kind"], row["name"]): row["definition"] for row in rows}


async def alembic_version(database):
    """Return what a process of the previous version reads, to know whether it can work."""
    return await database.fetchval("SELECT coalesce(max(version_num), '') FROM alembic_version")


@pytest.mark.slow
async def test_the_ledger_and_the_positions_are_made_of_what_is_there(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0005")
        await database.execute("""
            INSERT INTO signals (id, created_at, name, scope, payload, types, source)
            SELECT id, now(), 'a', 'broadcast', '{}', '{}', 'native'
            FROM generate_series(10, 14, 2) AS id;
            INSERT INTO matches VALUES (10, '{1,2}'), (12, '{2}');
            INSERT INTO deliveries VALUES (10, 1, 'dead'), (10, 2, 'pending'), (12, 2, 'delivered');
        """)
        await run_scripts(database, after="0005", to="9999")
        assert [(await compare(database, of)).matched for of in (None, 1, 2, 3)] == [3, 1, 2, 0]
        assert [one.id for one in await listed(SignalStore(database), after_id=10)] == [12, 14]
        await SignalStore(database).record([signal(11), signal(14)], rescue_after=RESCUE_AFTER)
        assert (await compare(database)).recorded == 4
        assert [one.id for one in await listed(SignalStore(database), after_id=12)] == [14, 11]


@pytest.mark.slow
async def test_the_tables_become_the_first_block_and_stay_what_they_are(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0006")
        before = {table: await definition(database, table) for table in TABLES}
        await database.execute("SELECT nextval('signal_ids') FROM generate_series(1, 20)")
        await database.execute("""
            INSERT INTO signals (id, created_at, name, scope, payload, types, source, position)
            SELECT id, now(), 'a', 'broadcast', '{}', '{}', 'native', id FROM generate_series(10, 14, 2) AS id;
            INSERT INTO matches VALUES (10, '{1,2}'), (12, '{2}'), (14, '{}');
            INSERT INTO deliveries VALUES (10, 1, 'dead'), (10, 2, 'pending'), (12, 2, 'delivered');
            INSERT INTO attempts VALUES (10, 1, 1, now(), 0.1, 'refused');
        """)
        await run_scripts(database, after="0006", to="0007")
        for table in TABLES:
            after = await definition(database, table)
            after.pop(("index", "signals_for_later"), None)
            assert after == before[table]
        parts = await database.fetch("SELECT relname, reloptions FROM pg_class WHERE relname = 'deliveries_1'")
        assert [(row["relname"], row["reloptions"]) for row in parts] == [("deliveries_1", ["fillfactor=80"])]
        doubled = [kind for kind, _ in itertools.chain(*[await definition(database, f"{t}_1") for t in TABLES])]
        assert "trigger" not in doubled, "what is changed is counted once"

        await run_scripts(database, after="0007", to="9999")
        await compare(database)
        (partition,) = await PartitionStore(database).all()
        assert (partition.first_id, partition.next_id) == (1, 1_000_020), "long, because older recorders make no blocks"
        assert partition.opened_at is not None
        assert [one.id for one in await listed(SignalStore(database))] == [10, 12, 14]
        assert len(await DeliveryStore(database).attempts((10, 1))) == 1
        await SignalStore(database).record([signal(11), signal(14), signal(30)], rescue_after=RESCUE_AFTER)
        assert (await compare(database)).recorded == 5


def test_steps_are_numbered_without_a_gap():
    assert [int(step) for step in STEPS] == list(range(1, len(STEPS) + 1))


@pytest.mark.slow
async def test_an_empty_database_gets_every_step_and_notes_each(postgres_url):
    async with unmigrated(postgres_url) as database:
        assert await revision(database) == ""
        await migrate(database.url)
        assert await applied(database) == set(STEPS)
        assert await revision(database) == NEEDED
        assert await alembic_version(database) == NEEDED


@pytest.mark.slow
async def test_a_database_that_alembic_migrated_goes_on_from_there(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0010")
        await database.execute(ALEMBIC)
        await PartitionStore(database).cover([7])
        await database.execute("""
            INSERT INTO signals (id, created_at, name, scope, payload, types, source, position)
            VALUES (7, now(), 'a', 'broadcast', '{}', '{}', 'native', 1);
        """)
        assert await revision(database) == "0010"
        assert await applied(database) == {f"{number:04}" for number in range(1, 11)}
        await migrate(database.url)
        assert await applied(database) == set(STEPS)
        assert await alembic_version(database) == NEEDED
        assert await database.fetchval("SELECT count(*) FROM signals") == 1


@pytest.mark.slow
async def test_steps_that_alembic_had_not_reached_are_applied(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0004")
        await database.execute(ALEMBIC.replace("0010", "0004"))
        assert await revision(database) == "0004"
        await migrate(database.url)
        assert await applied(database) == set(STEPS)
        assert await database.fetchval("SELECT count(*) FROM alembic_version") == 1
        assert await alembic_version(database) == NEEDED


@pytest.mark.slow
async def test_a_step_that_is_missing_below_the_newest_is_applied(postgres_url):
    """Two branches that each added a step may reach a database in either order."""
    async with unmigrated(postgres_url) as database:
        await migrate(database.url)
        await database.execute("""
            ALTER TABLE deliveries DROP COLUMN app;
            DROP INDEX subscriptions_of_handlers, subscriptions_by_app;
            DELETE FROM schema_steps WHERE step = '0009';
        """)
        assert await revision(database) == "0008"
        await migrate(database.url)
        assert await revision(database) == NEEDED
        assert await alembic_version(database) == NEEDED


@pytest.mark.slow
async def test_a_step_that_is_refused_leaves_nothing_and_is_made_good_later(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0002")
        await database.execute(ALEMBIC.replace("0010", "0002"))
        await database.execute("CREATE TABLE users (id integer)")
        with pytest.raises(StepRefused, match=r"^step 0003 of the schema was refused: .*users"):
            await migrate(database.url, wait=60)
        assert await applied(database) == {"0001", "0002"}
        await database.execute("DROP TABLE users")
        await migrate(database.url)
        assert await revision(database) == NEEDED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "named"),
    [
        (
            "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('ae1027a6acf')",
            "alembic_",
        ),
        ("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('0099')", "alembic_"),
        ("CREATE TABLE alembic_version (number integer); INSERT INTO alembic_version VALUES (5)", "alembic_version"),
        ("CREATE TABLE users (id integer); CREATE TABLE events (id integer)", "events, users"),
        ("CREATE VIEW statistics AS SELECT 1 AS one", "statistics"),
        ("CREATE TABLE schema_steps (id integer)", "schema_steps"),
        ("CREATE SCHEMA transport", "transport"),
    ],
)
async def test_a_database_of_another_product_is_refused_and_nothing_in_it_is_changed(script, named, postgres_url):
    relations = "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE oid >= 16384 AND relkind <> 't'"
    async with unmigrated(postgres_url) as database:
        await database.execute(script)
        before = await database.fetchval(relations)
        assert await revision(database) == ""
        with pytest.raises(ConfigurationError, match=f"another product.* it has {named}"):
            await migrate(database.url, wait=60)
        assert await database.fetchval(relations) == before


async def test_without_a_schema_to_make_it_in_nothing_is_tried(postgres_url):
    async with unmigrated(postgres_url) as database:
        url = f"{database.url}{'&' if '?' in database.url else '?'}search_path=nowhere"
        with pytest.raises(ConfigurationError, match=r"the search path \(nowhere\) names no schema that exists"):
            await migrate(url, wait=60)


@pytest.mark.slow
async def test_a_database_in_which_others_have_tables_of_other_names_is_taken(postgres_url):
    async with unmigrated(postgres_url) as database:
        await database.execute("CREATE TABLE spatial_ref_sys (id integer); CREATE TABLE alembic_version (id integer)")
        await database.execute("DROP TABLE alembic_version; CREATE SCHEMA crm; CREATE TABLE crm.users (id integer)")
        await migrate(database.url)
        assert await revision(database) == NEEDED


@pytest.mark.slow
async def test_one_that_was_killed_before_its_first_step_begins_again(postgres_url):
    async with unmigrated(postgres_url) as database:
        async with database.transaction() as session:
            await open_books(session)
        await migrate(database.url)
        assert await revision(database) == NEEDED


async def test_an_encoding_that_lacks_characters_is_refused(postgres_url):
    name = f"test_{uuid.uuid4().hex}"
    async with Database(postgres_url, size=1) as server:
        await server.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            with pytest.raises(ConfigurationError, match="encoding is LATIN1, and must be UTF8"):
                await migrate(on_database(postgres_url, name), wait=60)
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_role_that_may_not_log_in_or_lacks_rights_is_refused_at_once(database, postgres_url):
    async with role_of(database.url, postgres_url) as role:
        with pytest.raises(StoreRefusal, match="password"):
            await migrate(role.url("wrong"), wait=60)
        await database.execute("DELETE FROM schema_steps WHERE step = $1", NEEDED)
        owner = await database.fetchval("SELECT quote_ident(current_user)")
        await database.execute(f"REVOKE {owner} FROM {role.name}")
        with pytest.raises(StoreRefusal, match="permission denied"):
            await migrate(role.url(), wait=60)


@pytest.mark.slow
async def test_a_step_that_is_interrupted_leaves_nothing_half(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0004")
        await database.execute(ALEMBIC.replace("0010", "0004"))
        async with database.transaction() as session:
            await session.execute("LOCK TABLE signals")
            migrating = asyncio.create_task(migrate(database.url))
            waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'signals'::regclass AND NOT granted)"
            await eventually(lambda: database.fetchval(waiting))
            reached = await revision(database)
            migrating.cancel()
            await asyncio.wait([migrating])
        assert "0004" <= reached < NEEDED
        await migrate(database.url)
        assert await revision(database) == NEEDED


@pytest.mark.slow
async def test_many_processes_may_migrate_at_once(postgres_url):
    async with unmigrated(postgres_url) as database:
        await asyncio.gather(*(migrate(database.url) for _ in range(4)))
        assert await applied(database) == set(STEPS)


@pytest.mark.slow
async def test_a_schema_that_is_newer_is_left_alone(postgres_url):
    async with unmigrated(postgres_url) as database:
        await migrate(database.url)
        later = f"{int(NEEDED) + 1:04}"
        await database.execute("INSERT INTO schema_steps (step) VALUES ($1)", later)
        await migrate(database.url)
        assert await revision(database) == later
