"""A session that is kept is the same one as long as it is used again soon, and nobody else's meanwhile."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from broker.errors import StoreRefusal, StoreUnavailable
from broker.store.postgres.database import Database, DataError
from broker.store.postgres.keeping import KeptSession
from tests.support.eventually import eventually

HOUR = timedelta(hours=1)


async def connection(session):
    return await session.fetchval("SELECT pg_backend_pid()")


async def test_it_is_the_same_one_until_it_is_left(database_url):
    async with Database(database_url, size=2) as database:
        async with KeptSession(database, idle=HOUR) as kept:
            first = await kept.run(connection)
            assert await kept.run(connection) == first
            assert await database.fetchval("SELECT pg_backend_pid()") != first
        assert await database.fetchval("SELECT pg_backend_pid()") == first


async def test_it_is_given_back_once_it_is_not_used(database_url):
    async with (
        Database(database_url, size=1, timeout=timedelta(seconds=30)) as database,
        KeptSession(database, idle=timedelta(seconds=0.05)) as kept,
    ):
        first = await kept.run(connection)
        assert await database.fetchval("SELECT pg_backend_pid()") == first
        assert await kept.run(connection) == first


@pytest.mark.parametrize(("statement", "error"), [("SELECT 'x'::integer", DataError), ("SELECT gone()", StoreRefusal)])
async def test_after_a_failure_another_one_is_borrowed(database_url, statement, error):
    async with Database(database_url, size=1) as database, KeptSession(database, idle=HOUR) as kept:
        await kept.run(connection)
        with pytest.raises(error):
            await kept.run(lambda session: session.execute(statement))
        assert await database.fetchval("SELECT 1") == 1  # the pool's only connection is free
        assert await kept.run(connection)


async def test_a_connection_that_is_lost_is_replaced(database_url, database):
    async with Database(database_url, size=1) as own, KeptSession(own, idle=HOUR) as kept:
        first = await kept.run(connection)
        await database.execute("SELECT pg_terminate_backend($1, 5000)", first)

        async def is_replaced():
            with suppress(StoreUnavailable):
                return await kept.run(connection) != first

        await eventually(is_replaced)
