"""What stays of a partition in which much is owed is copied beforehand, while everybody works on."""

from __future__ import annotations

import pytest

from broker.deliveries import DeliveryState
from broker.errors import StoreUnavailable
from broker.store.partitions.copies import Copies
from broker.store.partitions.detached import DetachedStore
from broker.store.partitions.partitions import maintenance
from broker.store.postgres.database import Database
from tests.integration.test_ledger import compare
from tests.support.builders import DAY

pytestmark = pytest.mark.slow


async def test_a_partition_in_which_very_much_is_owed_stays_as_it_is(history, subscription):
    detached = DetachedStore(history.database, most_owed=3, most_copied=3)
    signals = [await history.throw() for _ in range(4)]
    await history.attempt(await history.throw(), DeliveryState.DELIVERED)
    await history.close()
    await history.pass_time(31 * DAY)
    (partition,) = await detached.due(30 * DAY)
    assert not await detached.empty(partition, retention=30 * DAY, dead=90 * DAY)
    assert len(await history.ids()) == 5
    for signal in signals[:2]:
        await history.attempt(signal, DeliveryState.DELIVERED)
    assert await detached.empty(partition, retention=30 * DAY, dead=90 * DAY)
    assert await history.ids() == [signal.id for signal in signals[2:]]


async def test_what_is_not_owed_of_owed_signals_counts_as_well(history, much_owed):
    """It is looked at while all others are locked out, like what is owed."""
    others = """
    INSERT INTO deliveries (signal_id, subscription_id, state, app)
    SELECT signal_id, s, 'delivered', '' FROM deliveries, generate_series(2, 5) AS s WHERE signal_id = $1
    """
    await history.database.execute(others, much_owed[0].id)
    (partition,) = await DetachedStore(history.database).due(30 * DAY)
    for most, emptied in (14, False), (15, True):  # 6 are owed and 4 are not; and there are 4 attempts
        detached = DetachedStore(history.database, most_owed=4, most_rows_copied=most)
        assert await detached.empty(partition, retention=30 * DAY, dead=90 * DAY) == emptied


TABLES = {"signals": "id", "matches": "signal_id", "deliveries": "signal_id", "attempts": "signal_id"}


async def contents(database, signal_ids):
    """Return everything that is known of these signals, by table."""
    return {
        table: sorted(
            str(dict(row)) for row in await database.fetch(f"SELECT * FROM {table} WHERE {key} = ANY ($1)", signal_ids)
        )
        for table, key in TABLES.items()
    }


@pytest.fixture
async def much_owed(history, subscription):
    """Return what is owed of a closed partition, in which as much is not: more than is copied under locks."""
    states = [DeliveryState.DEAD, DeliveryState.PARKED, DeliveryState.DEAD, None, DeliveryState.DEAD, None]
    owed = [await history.throw() for _ in states]
    for signal, state in zip(owed, states, strict=True):
        await history.attempt(await history.throw(), DeliveryState.DELIVERED)
        if state is not None:
            await history.attempt(signal, state)
    await history.close()
    await history.pass_time(31 * DAY)
    return owed


async def empty(history, *, most_owed=4):
    detached = DetachedStore(history.database, most_owed=most_owed)
    await detached.clean()
    (partition,) = await detached.due(30 * DAY)
    emptied = await detached.empty(partition, retention=30 * DAY, dead=90 * DAY)
    for gone in await detached.all():
        await detached.drop(gone)
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'kept_%' AND relkind = 'r'"
    assert await history.database.fetchval(left) == 0
    return emptied


async def test_a_partition_in_which_much_is_owed_is_emptied_of_the_rest(history, much_owed):
    ids = [signal.id for signal in much_owed]
    before = await contents(history.database, ids)
    await history.database.execute("CREATE TABLE kept_signals_1 ()")  # left by a process that was killed
    assert await empty(history)
    assert await history.ids() == ids
    assert await contents(history.database, ids) == before
    assert (await compare(history.database)).recorded == 6
    await history.attempt(much_owed[3], DeliveryState.DELIVERED)
    await compare(history.database)


async def test_what_changes_while_it_is_copied_stays_as_it_became(history, much_owed, monkeypatch):
    dead, _, redriven, delivered, _, replayed = much_owed
    revived = replayed.id + 1
    ids = [*(signal.id for signal in much_owed), revived]
    make, after = Copies.make, {}

    async def make_and_change(copies, signal_ids):
        await make(copies, signal_ids)
        change = history.database.execute
        await history.attempt(delivered, DeliveryState.DELIVERED)
        await change("UPDATE signals SET position = position + 1000 WHERE id = $1", dead.id)
        await change("UPDATE deliveries SET state = 'parked', due_at = now() WHERE signal_id = $1", redriven.id)
        await change("UPDATE deliveries SET state = 'pending' WHERE signal_id = $1", revived)
        await change("UPDATE matches SET subscription_ids = '{1,2}' WHERE signal_id = $1", replayed.id)
        await change(
            "INSERT INTO deliveries (signal_id, subscription_id, state, app) VALUES ($1, 2, 'pending', '')", replayed.id
        )
        after.update(await contents(history.database, ids))

    monkeypatch.setattr(Copies, "make", make_and_change)
    assert await empty(history, most_owed=6)
    assert await history.ids() == ids
    assert await contents(history.database, ids) == after


async def test_outcomes_that_come_while_it_is_copied_stay(history, much_owed, monkeypatch):
    """They change no delivery that was cancelled meanwhile, or whose attempt had been noted as interrupted."""
    ids = [signal.id for signal in much_owed]
    another = """
    INSERT INTO attempts (signal_id, subscription_id, number, started_at, duration, outcome)
    SELECT signal_id, subscription_id, 2, started_at, duration, outcome FROM attempts WHERE signal_id = $1
    """
    make, after = Copies.make, {}

    async def make_and_change(copies, signal_ids):
        await make(copies, signal_ids)
        await history.database.execute("UPDATE attempts SET error = 'late' WHERE signal_id = $1", ids[0])
        await history.database.execute(another, ids[1])
        after.update(await contents(history.database, ids))

    monkeypatch.setattr(Copies, "make", make_and_change)
    assert await empty(history)
    assert await contents(history.database, ids) == after


async def test_nothing_is_left_of_copies_when_others_hold_the_locks(history, much_owed, database_url):
    async with Database(database_url) as others, others.transaction() as reading:
        await reading.fetch("SELECT FROM deliveries")
        async with maintenance(history.database, timeout=DAY) as session:
            detached = DetachedStore(session, most_owed=4)
            (partition,) = await detached.due(30 * DAY)
            with pytest.raises(StoreUnavailable, match="LockNotAvailableError"):
                await detached.empty(partition, retention=30 * DAY, dead=90 * DAY)
    assert await history.database.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'kept_%'") == 0
    assert await empty(history)


async def test_a_partition_of_which_too_much_changes_meanwhile_stays_as_it_is(history, much_owed, monkeypatch):
    make = Copies.make

    async def make_and_change(copies, signal_ids):
        await make(copies, signal_ids)
        await history.database.execute("UPDATE deliveries SET reason = 'changed'")

    monkeypatch.setattr(Copies, "make", make_and_change)
    assert not await empty(history)
    assert len(await history.ids()) == 12
    assert not await DetachedStore(history.database).due(30 * DAY, every=DAY)
    await compare(history.database)


async def test_a_partition_is_not_copied_for_little(history, much_owed):
    await history.database.execute("UPDATE deliveries SET state = 'parked' WHERE signal_id % 2 = 1 OR signal_id > 2")
    assert await empty(history)
    assert len(await history.ids()) == 12
    assert await history.database.fetchval("SELECT max(emptied_at) FROM blocks") is not None
    assert much_owed
