import asyncio
import socket
from datetime import timedelta

import pytest
from yarl import URL

from broker.errors import StoreUnavailable
from broker.session_settings import is_session_setting
from broker.store.postgres.database import Database, DataError
from tests.support.eventually import eventually
from tests.support.postgres import unmigrated


async def test_a_failed_transaction_leaves_nothing_behind(database):
    await database.execute("CREATE TABLE t (i int)")

    async def fail_half_way():
        async with database.transaction() as session:
            await session.execute("INSERT INTO t VALUES (1)")
            await session.execute("SELECT 'x'::integer")

    with pytest.raises(DataError):
        await fail_half_way()
    assert await database.fetchval("SELECT count(*) FROM t") == 0


async def test_a_server_that_is_not_there_is_store_unavailable():
    async with Database("postgresql://nobody@127.0.0.1:1/none") as database:
        with pytest.raises(StoreUnavailable):
            await database.fetchval("SELECT 1")


async def test_sessions_read_what_others_committed_whatever_isolation_is_set_for_the_role_or_the_database(postgres_url):
    async with unmigrated(postgres_url) as database:
        name = await database.fetchval("SELECT current_database()")
        await database.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
        async with Database(database.url, size=1) as fresh, fresh.dedicated_session() as dedicated:
            for session in (fresh, dedicated):
                assert await session.fetchval("SHOW transaction_isolation") == "read committed"
            async with fresh.transaction() as session:
                assert await session.fetchval("SHOW transaction_isolation") == "read committed"


async def test_a_listener_hears_again_after_its_connection_was_killed(database):
    heard = []
    database.listen("news", heard.append)
    await eventually(lambda: heard == [None])
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
    )
    await eventually(lambda: heard == [None, None])
    await database.execute("NOTIFY news, 'hello'")
    await eventually(lambda: heard == [None, None, "hello"])


async def test_a_statement_has_a_deadline(database_url):
    async with Database(database_url, timeout=timedelta(seconds=0.2)) as database:
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(database.fetchval("SELECT pg_sleep(5)"), timeout=3)


@pytest.mark.slow
async def test_a_statement_ends_that_was_given_up(database, database_url):
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30%' AND state = 'active'"
    async with Database(database_url, timeout=timedelta(seconds=0.5)) as impatient:
        with pytest.raises(StoreUnavailable):
            await impatient.fetchval("SELECT pg_sleep(30)")

    async def ended():
        return await database.fetchval(running) == 0

    await eventually(ended, within=20)


@pytest.mark.slow
async def test_a_listener_that_cannot_listen_does_not_connect_again_at_once(monkeypatch):
    connections = []

    class Deaf:
        def __init__(self):
            connections.append(asyncio.get_running_loop().time())

        def add_termination_listener(self, _):
            pass

        async def add_listener(self, *_):
            raise ConnectionResetError

        def terminate(self):
            pass

    async def connect(*_, **__):
        await asyncio.sleep(0)
        return Deaf()

    async with Database("postgresql://127.0.0.1:1/none") as database:
        monkeypatch.setattr("broker.store.postgres.database.asyncpg.connect", connect)
        database.listen("channel", lambda _: None)
        await eventually(lambda: len(connections) == 3)
    assert connections[2] - connections[0] >= 2 * 0.5


async def test_every_setting_that_a_session_may_have_can_be_in_the_stores_url(database):
    rows = await database.fetch(
        "SELECT name FROM pg_settings WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend')"
    )
    assert [row["name"] for row in rows if not is_session_setting(row["name"])] == []
    for name in ("role", "session_authorization"):
        assert await database.fetchval("SELECT current_setting($1)", name)


@pytest.mark.parametrize(("own", "shown"), [({}, "signal-broker gateway"), ({"application_name": "me"}, "me")])
async def test_sessions_say_whose_they_are_unless_the_url_has_a_name_for_them(database_url, own, shown):
    url = str(URL(database_url).update_query(own))
    heard = asyncio.Event()
    async with Database(url, purpose="gateway") as database, database.dedicated_session() as session:
        database.listen("anything", lambda _: heard.set())
        await heard.wait()
        names = await session.fetch("SELECT application_name FROM pg_stat_activity WHERE datname = current_database()")
        pooled = await database.fetchval("SELECT current_setting('application_name')")
    assert [name["application_name"] for name in names].count(shown) == 2
    assert pooled == shown


@pytest.mark.parametrize("wanted", ["read-write", "any", "primary", "prefer-standby"])
async def test_a_host_that_is_silent_keeps_no_session_from_the_next_one(postgres_url, wanted):
    there = URL(postgres_url)
    directory, port = there.query["host"], int(there.query.get("port", "5432"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = {"host": f"127.0.0.1,{directory}", "port": f"{silent.getsockname()[1]},{port}"}
        url = str(there.update_query(hosts | {"target_session_attrs": wanted, "sslmode": "disable"}))
        async with Database(url, timeout=timedelta(seconds=4)) as database:
            assert await database.fetchval("SELECT 1") == 1
            async with database.dedicated_session() as session:  # and is not asked first again
                began = asyncio.get_running_loop().time()
                assert await session.fetchval("SELECT 1") == 1
                assert wanted == "prefer-standby" or asyncio.get_running_loop().time() - began < 1
            assert await database.hears_notifications(within=timedelta(seconds=2))


async def test_of_hosts_that_all_fail_the_last_says_why_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://nobody@127.0.0.1:1,127.0.0.1:{port}/none?sslmode=disable"
        async with Database(url, timeout=timedelta(seconds=1)) as database:
            async with asyncio.timeout(3):
                with pytest.raises(StoreUnavailable, match="in time"):
                    await database.fetchval("SELECT 1")
