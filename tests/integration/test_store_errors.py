"""What PostgreSQL says about the data is one thing; everything else means "not now", whatever its name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.errors import ConfigurationError, StoreRefusal, StoreTimeout, StoreUnavailable
from broker.store.postgres.database import Conflict, Database, DataError, Unplaced
from tests.support.eventually import eventually
from tests.support.roles import LOCKOUTS, role_of


@pytest.fixture
async def role(database_url, postgres_url):
    async with role_of(database_url, postgres_url) as role:
        yield role


@pytest.mark.slow
@pytest.mark.parametrize("lockout", LOCKOUTS)
async def test_a_role_that_is_locked_out_is_refused_until_it_is_let_in_again(role, lockout):
    async with Database(role.url()) as database:
        await database.execute("CREATE TABLE t (i int)")
        heard = []
        database.listen("news", heard.append)
        await eventually(lambda: heard == [None])
        async with LOCKOUTS[lockout](role):

            async def refusal():
                try:
                    await database.execute("INSERT INTO t VALUES (1)")
                except StoreRefusal as error:
                    return error.sqlstate
                except StoreUnavailable:
                    return None  # a connection that was cut is noticed when it is used
                return None

            assert await eventually(refusal) == lockout.split()[0]
        await database.execute("INSERT INTO t VALUES (1)")
        await eventually(lambda: len(heard) > 1)


async def refused(database, statement, *args, sqlstate):
    with pytest.raises(StoreRefusal) as refusal:
        await database.execute(statement, *args)
    assert refusal.value.sqlstate == sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "statement"),
    [
        ("42P01", "SELECT * FROM nowhere"),
        ("42703", "SELECT nothing FROM signals"),
        ("42883", "SELECT no_function()"),
        ("42501", "SET ROLE pg_monitor; SELECT * FROM signals"),
        ("40P01", "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"),
        ("55P03", "DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$"),
        ("XX000", "DO $$ BEGIN RAISE SQLSTATE 'XX000'; END $$"),
        ("P0001", "DO $$ BEGIN RAISE 'no'; END $$"),
    ],
)
async def test_what_is_not_about_the_data_is_a_refusal(database, sqlstate, statement):
    await refused(database, statement, sqlstate=sqlstate)
    assert await database.fetchval("SELECT 1") == 1


ADDING = "INSERT INTO transport.queues VALUES ('a', '{}')"
SURPRISES = {
    "2200H": ("CREATE SEQUENCE s MAXVALUE 2 START 2; SELECT nextval('s')", "SELECT nextval('s')"),
    "23502": ("ALTER TABLE transport.queues ADD COLUMN surprise int NOT NULL", ADDING),
    "23503": (
        "CREATE TABLE k (a text PRIMARY KEY); ALTER TABLE transport.queues ADD FOREIGN KEY (name) REFERENCES k",
        ADDING,
    ),
    "23505": (
        "CREATE UNIQUE INDEX surprise ON transport.queues ((true)); " + ADDING,
        "INSERT INTO transport.queues VALUES ('b', '{}')",
    ),
    "23514": ("ALTER TABLE transport.queues ADD CONSTRAINT surprise CHECK (name > 'b')", ADDING),
    "23P01": (
        "ALTER TABLE transport.queues ADD EXCLUDE ((1) WITH =); " + ADDING,
        "INSERT INTO transport.queues VALUES ('b', '{}')",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("sqlstate", SURPRISES)
async def test_what_somebody_added_to_the_schema_says_nothing_about_the_data(database, sqlstate):
    addition, statement = SURPRISES[sqlstate]
    await database.execute(addition)
    await refused(database, statement, sqlstate=sqlstate)


@pytest.mark.parametrize(
    "statement", ["PERFORM 1/0", "RAISE check_violation", "RAISE not_null_violation", "RAISE unique_violation"]
)
async def test_what_a_trigger_refuses_says_nothing_about_the_data(database, statement):
    with pytest.raises(StoreRefusal):
        await database.execute(f"DO $$ BEGIN {statement}; END $$")


async def test_a_cached_plan_is_refused_once_after_a_change_of_the_schema(database):
    """Only outside a transaction does asyncpg prepare a statement again; with the next transaction all is well."""
    await database.execute("CREATE TABLE t (i int)")
    async with Database(database.url, size=1) as pooled:

        async def read():
            async with pooled.transaction() as session:
                return await session.fetch("SELECT * FROM t")

        await read()
        await database.execute("ALTER TABLE t ADD COLUMN j int")
        with pytest.raises(StoreRefusal, match="cached statement plan") as refusal:
            await read()
        assert refusal.value.sqlstate == "0A000"
        assert await read() == []


async def test_prepared_statements_that_a_pooler_mixed_up_are_a_refusal_and_cost_the_connection(database_url):
    async with Database(database_url, size=1) as database:
        await database.fetchval("SELECT $1::int", 1)
        await database.execute("DEALLOCATE ALL")
        with pytest.raises(StoreRefusal) as unknown:
            await database.fetchval("SELECT $1::int", 1)
        assert unknown.value.sqlstate == "26000"
        assert await database.fetchval("SELECT $1::int", 1) == 1
        newest = await database.fetchval("SELECT name FROM pg_prepared_statements ORDER BY prepare_time DESC LIMIT 1")
        first = int(newest.strip("_").rpartition("_")[2], 16)
        for number in range(first + 1, first + 10):
            await database.execute(f"PREPARE __asyncpg_stmt_{number:x}__ AS SELECT 1")
        with pytest.raises(StoreRefusal) as known:
            await database.fetchval("SELECT $1::text", "a")
        assert known.value.sqlstate == "42P05"
        assert await database.fetchval("SELECT $1::text", "a") == "a"


async def test_a_statement_that_takes_too_long_is_a_timeout_whoever_ends_it(database, database_url):
    with pytest.raises(StoreTimeout):
        await database.execute("SET statement_timeout = 50; SELECT pg_sleep(5)")
    async with Database(database_url, timeout=timedelta(seconds=0.2)) as hasty:
        with pytest.raises(StoreTimeout):
            await hasty.fetchval("SELECT pg_sleep(5)")


async def test_a_server_that_goes_or_is_gone_is_neither(database):
    for ending in ("SELECT pg_terminate_backend(pg_backend_pid())", "SELECT pg_sleep(0)"):
        outcome: StoreUnavailable | None = None
        try:
            await database.execute(ending)
        except StoreUnavailable as error:
            outcome = error
        assert outcome is None or type(outcome) is StoreUnavailable
    async with Database("postgresql://nobody@127.0.0.1:1/none") as nowhere:
        with pytest.raises(StoreUnavailable) as error:
            await nowhere.fetchval("SELECT 1")
    assert type(error.value) is StoreUnavailable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "statement", "args"),
    [
        (DataError, "SELECT 'a'::int", ()),
        (DataError, "SELECT $1::int", ("a",)),
        (DataError, "SELECT $1::int", (1 << 40,)),
        (DataError, "SELECT $1::text", ("\x00",)),
        (DataError, "SELECT $1::text", ("\ud800",)),
        (DataError, "SELECT '\\u0000'::jsonb ->> 0", ()),
        (DataError, "INSERT INTO t VALUES ('long')", ()),
        (DataError, "INSERT INTO transport.exchanges VALUES ('a', 'no kind')", ()),
        (DataError, "INSERT INTO transport.bindings (source, routing_key, queue) VALUES ('no', '', 'no')", ()),
        (Conflict, "INSERT INTO transport.exchanges VALUES ('a', 'topic'), ('a', 'topic')", ()),
        (Unplaced, "INSERT INTO p VALUES (1)", ()),
    ],
)
async def test_only_what_is_wrong_with_the_data_is_a_data_error(database, kind, statement, args):
    await database.execute("CREATE TABLE t (s varchar(2))")
    await database.execute("CREATE TABLE p (i int) PARTITION BY RANGE (i)")
    with pytest.raises(DataError) as error:
        await database.execute(statement, *args)
    assert type(error.value) is kind


async def test_a_url_that_cannot_be_used_is_a_wrong_setting():
    async with Database("postgresql://a@b/c?target_session_attrs=nonsense") as database:
        with pytest.raises(ConfigurationError, match="the store's URL"):
            await database.fetchval("SELECT 1")
