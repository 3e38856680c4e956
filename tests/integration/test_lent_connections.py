"""A connection that was returned is reused at once, and never by two callers at a time."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from datetime import timedelta

import pytest

from broker.errors import StoreRefusal, StoreUnavailable
from broker.store.postgres import database as databases
from broker.store.postgres.database import Database, DataError
from broker.store.postgres.lending import Lender
from tests.support.eventually import eventually

OWN = "SELECT pg_backend_pid()"
MOMENT = timedelta(seconds=0.05)


@pytest.fixture
async def pair(database_url):
    """A database with two connections."""
    async with Database(database_url, size=2) as database:
        yield database


@pytest.fixture
def lenders(monkeypatch):
    """Return a function that changes the deadlines of further lenders, and returns a list to which each is added."""

    def change(**deadlines):
        def lender(pool, *, timeout):
            made.append(Lender(pool, timeout=timeout, **deadlines))
            return made[-1]

        made = []
        monkeypatch.setattr(databases, "Lender", lender)
        return made

    return change


async def test_the_one_that_was_given_back_last_is_lent_first(pair):
    async with pair.session() as first, pair.session() as second:
        pids = await first.fetchval(OWN), await second.fetchval(OWN)
    assert pids[0] != pids[1]
    assert [await pair.fetchval(OWN) for _ in range(3)] == [pids[0]] * 3  # it was left last


async def test_two_that_coincide_never_have_the_same(pair):
    async def look():
        async with pair.session() as session:
            pid = await session.fetchval(OWN)
            assert pid not in taken
            taken.add(pid)
            await asyncio.sleep(0)
            taken.remove(pid)

    taken = set()
    for _ in range(20):
        await asyncio.gather(*(look() for _ in range(10)))
    assert (pair.use.used, pair.use.limit) == (0, 2)


async def test_who_waits_for_one_gets_it(database_url):
    async with Database(database_url, size=1) as database:
        async with database.session() as session:
            pid = await session.fetchval(OWN)
            waiting = asyncio.gather(*(database.fetchval(OWN) for _ in range(5)))
            await asyncio.sleep(0.05)
            assert database.use.used == 1
        assert await waiting == [pid] * 5


async def test_one_that_is_not_used_returns_to_the_pool(database_url, lenders):
    made = lenders(idle=MOMENT)
    async with Database(database_url, size=3) as database:
        async with database.session() as one, database.session() as another:
            await one.fetchval(OWN)
            await another.fetchval(OWN)
        assert await eventually(lambda: made[0].kept == 0 and database.use == (2, 0, 3))
        assert await database.fetchval("SELECT 1") == 1


async def test_one_is_lent_again_without_going_through_the_pool(database_url, lenders):
    made = lenders()
    async with Database(database_url, size=1) as database:
        loan = await made[0].borrow()
        await made[0].give_back(loan)
        assert await made[0].borrow() == loan  # out of the pool since the same moment
        await made[0].give_back(loan)
        assert await database.fetchval("SELECT 1") == 1


async def test_one_that_has_been_out_for_long_returns_to_the_pool_although_it_is_wanted(database_url, lenders):
    made = lenders(longest=timedelta(0))
    async with Database(database_url, size=1) as database:
        for _ in range(3):
            assert await database.fetchval("SELECT 1") == 1
            assert made[0].kept == 0


async def test_one_is_not_lent_again_with_a_transaction_that_nobody_ended(database_url):
    async with Database(database_url, size=1) as database:
        async with database.session() as session:
            await session.execute("BEGIN; CREATE TABLE left_behind ()")
        assert await database.fetchval("SELECT to_regclass('left_behind')") is None


@pytest.mark.parametrize(("statement", "error"), [("SELECT 'x'::integer", DataError), ("SELECT gone()", StoreRefusal)])
async def test_after_a_failure_there_is_one_for_the_next(database_url, statement, error):
    async with Database(database_url, size=1) as database:
        with pytest.raises(error):
            await database.execute(statement)
        assert await database.fetchval("SELECT 1") == 1


async def test_after_a_cancellation_there_is_one_for_the_next(database_url):
    async with Database(database_url, size=1) as database:
        pid = await database.fetchval(OWN)
        sleeping = asyncio.create_task(database.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.05)
        sleeping.cancel()
        await asyncio.wait([sleeping])
        assert await database.fetchval(OWN) != pid


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_a_statement_that_was_given_up_does_nothing_to_the_next(database_url, database, is_noticed):
    """A BEGIN may succeed after that: what the next one does would be no more than a part of that transaction."""

    async def give_up():
        async with own.session() as session:
            with nullcontext() if is_noticed else suppress(TimeoutError):
                async with asyncio.timeout(0), session.transaction():
                    pass

    async with Database(database_url, size=1) as own:
        for number in range(10):
            assert await own.fetchval("SELECT 1") == 1
            with suppress(TimeoutError):
                await give_up()
            await own.execute(f"CREATE TABLE committed_{number} ()")
            assert await database.fetchval(f"SELECT to_regclass('committed_{number}') IS NOT NULL")


async def test_a_session_that_was_left_is_not_used_again(pair):
    async with pair.session() as session:
        assert await session.fetchval("SELECT 1") == 1
    with pytest.raises(AttributeError):
        await session.fetchval("SELECT 1")


async def test_one_that_was_lost_meanwhile_is_not_lent(database_url, database, lenders):
    lenders(idle=timedelta(hours=1))
    async with Database(database_url, size=1) as own:
        pid = await own.fetchval(OWN)
        await database.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        await eventually(lambda: own.use == (0, 0, 1))

        async def is_replaced():
            with suppress(StoreUnavailable):
                return await own.fetchval(OWN) != pid

        await eventually(is_replaced)
        assert own.use == (1, 0, 1)


@pytest.mark.parametrize("turns", range(1, 8))
async def test_nothing_is_left_behind_when_the_database_is_left(database_url, database, turns):
    """Also if that is interrupted, after so many turns of the loop."""

    async def use():
        async with Database(database_url, size=2) as own, own.session() as one, own.session() as another:
            pids.extend([await one.fetchval(OWN), await another.fetchval(OWN)])
            left.set()

    async def are_gone():
        return not await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1)", pids)

    pids, left = [], asyncio.Event()
    using = asyncio.create_task(use())
    await left.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.wait([using])
    assert await eventually(are_gone)
