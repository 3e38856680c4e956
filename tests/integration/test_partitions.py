"""Blocks: always there before they are needed, closed in time, and ids ascend across them."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest

from broker.deliveries import DeliveryState, DueAttempt
from broker.signals import Throw
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database, DataError
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from tests.support.attempts import attempt_store, claim, finish
from tests.support.builders import DAY, QUEUE, RESCUE_AFTER, ended, signal
from tests.support.listing import listed

TABLES = ("signals", "matches", "deliveries", "attempts")

PARTITIONS = """
SELECT p.relname AS parent, c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound, c.reloptions
FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid
WHERE p.relkind = 'p'
"""
INDEXES = """
SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '') AS definition
FROM pg_index WHERE indrelid = $1::text::regclass ORDER BY 1
"""


@pytest.fixture
def partitions(database):
    return PartitionStore(database)


@pytest.fixture
async def subscribed(database):
    await SubscriptionStore(database).create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)


async def number(signals, count=1):
    return [numbered.id for numbered in await signals.number([(Throw(name="a"), None)] * count)]


async def record(signals, *ids):
    await signals.record([signal(signal_id) for signal_id in ids], rescue_after=RESCUE_AFTER)


async def ranges(partitions):
    return [(partition.first_id, partition.next_id) for partition in await partitions.all()]


async def pass_time(database, by):
    """Let the partitions have been opened and closed that much earlier."""
    await database.execute(
        "UPDATE blocks SET opened_at = opened_at - $1::interval, closed_at = closed_at - $1::interval", by
    )


async def test_two_blocks_are_ready_beside_the_one_in_use(partitions, signals):
    await number(signals)
    await partitions.keep_ahead()
    await partitions.keep_ahead()
    assert await ranges(partitions) == [(1, 100_001), (100_001, 200_001), (200_001, 300_001)]
    assert await partitions.ahead() == 2


async def test_the_four_tables_are_cut_alike_and_their_parts_are_made_alike(partitions, signals, database):
    await number(signals)
    await partitions.keep_ahead()
    partitions = await database.fetch(PARTITIONS)
    bounds = {table: sorted(row["bound"] for row in partitions if row["parent"] == table) for table in TABLES}
    assert len(bounds["signals"]) == 3
    assert len({tuple(of) for of in bounds.values()}) == 1
    filled = {row["name"]: row["reloptions"] for row in partitions if row["parent"] == "deliveries"}
    options = ["fillfactor=80", "autovacuum_vacuum_scale_factor=0.02", "autovacuum_analyze_scale_factor=0.02"]
    assert list(filled.values()) == [options] * 3
    for table, first in itertools.product(TABLES, (1, 100_001)):
        of_parent = [row["definition"] for row in await database.fetch(INDEXES, table)]
        assert [row["definition"] for row in await database.fetch(INDEXES, f"{table}_{first}")] == of_parent


async def test_blocks_become_larger_when_more_ids_are_used_up(partitions, signals, database):
    await number(signals)
    await partitions.keep_ahead()
    await database.execute("SELECT setval('signal_ids', 250000)")
    await partitions.keep_ahead()
    assert await ranges(partitions) == [
        (1, 100_001),
        (100_001, 200_001),
        (200_001, 300_001),
        (300_001, 675_001),  # one and a half times the 250,000
        (675_001, 1_050_001),
    ]
    assert [partition.closed_at is not None for partition in await partitions.all()] == [
        True,
        True,
        False,
        False,
        False,
    ]


async def test_a_numbering_that_was_moved_far_ahead_by_hand_finds_a_block(partitions, signals, database):
    await database.execute("SELECT setval('signal_ids', 200000000)")
    await partitions.keep_ahead()
    await record(signals, *await number(signals))
    assert [next_id - first_id for first_id, next_id in await ranges(partitions)] == [
        100_000,
        200_050_000,
        50_000_000,
        50_000_000,
    ]


async def test_a_block_is_closed_when_its_period_is_over_and_numbers_go_on_in_the_next_one(
    partitions, signals, database
):
    assert await number(signals) == [1]
    await partitions.keep_ahead()
    assert not await partitions.close(DAY)
    assert await number(signals) == [2]
    await pass_time(database, DAY)
    assert await partitions.close(DAY)
    assert await number(signals) == [100_001]
    await partitions.keep_ahead()
    assert await partitions.ahead() == 2
    first, second, *_ = await partitions.all()
    assert first.closed_at is not None
    assert (second.opened_at is not None, second.closed_at) == (True, None)


async def test_a_block_without_ids_is_not_closed(partitions, database):
    await partitions.keep_ahead()
    await pass_time(database, 30 * DAY)
    assert not await partitions.close(DAY)
    assert not any(partition.opened_at for partition in await partitions.all())


@pytest.mark.slow
async def test_ids_ascend_in_real_time_while_blocks_are_closed(partitions, signals, database):
    """Whoever was answered before another asked has the lower id; and ids and times tell the same order."""
    clock = asyncio.get_running_loop().time
    spans, closed = [], []

    async def throw():
        while len(closed) < 5:
            begun = clock()
            (numbered,) = await signals.number([(Throw(name="a"), None)])
            spans.append((begun, clock(), numbered.id, numbered.created_at))

    async def close():
        while len(closed) < 5:
            await partitions.keep_ahead()
            if await partitions.close(timedelta()):
                closed.append(True)

    await asyncio.gather(*(throw() for _ in range(8)), close(), close())
    spans.sort(key=lambda span: span[2])
    assert len({span[2] for span in spans}) == len(spans)
    assert spans[-1][2] > 400_000, "numbers were taken in every block"
    assert all(first[3] <= second[3] for first, second in itertools.pairwise(spans))
    latest_begin = itertools.accumulate((begun for begun, *_ in spans), max)
    assert all(answered > begun for (_, answered, *_), begun in zip(spans, latest_begin, strict=True))
    for partition in await partitions.all():
        inside = [
            created_at for *_, signal_id, created_at in spans if partition.first_id <= signal_id < partition.next_id
        ]
        assert partition.closed_at is None or all(created_at < partition.closed_at for created_at in inside)


@pytest.mark.slow
async def test_a_recorder_makes_the_blocks_that_are_missing(partitions, signals, subscribed, database):
    """Faster than anybody foresaw, with no scheduler there: it must not take the signals for poison."""
    await database.execute("SELECT setval('signal_ids', 100010)")
    ids = await number(signals, 3)
    await asyncio.gather(*(record(SignalStore(database), *ids) for _ in range(4)))
    assert [known.id for known in await listed(signals)] == ids
    ledger = await DeliveryStore(database).ledger()
    assert (ledger.recorded, ledger.matched, ledger.unaccounted) == (3, 3, 0)
    assert len(await partitions.all()) == 2


@pytest.mark.slow
async def test_a_signal_below_the_oldest_block_is_recorded_and_has_a_block_again(
    partitions, signals, subscribed, database
):
    await number(signals, 5)
    await partitions.keep_ahead()
    for table in TABLES:
        await database.execute(f"DROP TABLE {table}_1")
    await database.execute("DELETE FROM blocks WHERE first_id = 1")
    await record(signals, 3)
    assert (await signals.get(3)).id == 3
    oldest, *_ = await partitions.all()
    assert (oldest.first_id, oldest.next_id) == (1, 100_001)
    assert oldest.closed_at is not None, "no new ids are given in it, so it can be emptied one day"
    assert (await DeliveryStore(database).ledger()).matched == 1


async def test_an_id_that_cannot_be_is_refused_as_data(signals):
    with pytest.raises(DataError, match="no partition"):
        await record(signals, 0)


@pytest.mark.slow
async def test_attempts_are_begun_and_ended_in_whatever_order_they_are_asked_for(
    partitions, signals, subscribed, database
):
    deliveries, attempts = DeliveryStore(database), attempt_store(database)
    ids = await number(signals, 2)
    for _ in range(2):
        await partitions.keep_ahead()
        await partitions.close(timedelta())
        ids += await number(signals, 2)
    await record(signals, *ids)
    asked = [ids[3], ids[5], ids[0], ids[4], ids[2], ids[1]]
    begun = await claim(attempts, *(DueAttempt(i, 1, 1) for i in asked))
    assert [claimed and claimed.signal.id for claimed in begun] == asked
    await finish(attempts, *(ended(claimed, DeliveryState.DELIVERED) for claimed in begun))
    assert (await deliveries.ledger()).states[DeliveryState.DELIVERED] == 6
    assert [len(await deliveries.attempts((i, 1))) for i in ids] == [1] * 6


async def test_making_and_closing_blocks_keeps_nobody_from_recording(partitions, signals, subscribed, database_url):
    """What others have begun, and not committed, does not wait for it, nor does it wait for them."""
    (first, second) = await number(signals, 2)
    async with Database(database_url) as other, other.transaction() as session:
        await session.execute("INSERT INTO matches VALUES ($1, '{}')", first)
        await session.execute("INSERT INTO deliveries VALUES ($1, 1, 'pending')", first)
        async with asyncio.timeout(4):
            await partitions.keep_ahead()
            await partitions.close(timedelta())
            assert await partitions.ahead() == 2
        await session.execute("DELETE FROM matches; DELETE FROM deliveries")
    await record(signals, first, second)
    assert [known.id for known in await listed(signals)] == [first, second]
