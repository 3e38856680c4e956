"""Whoever reads recorded signals page by page misses none, however late it was recorded."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from broker.signals import Throw
from broker.store.postgres.database import Database
from broker.store.signals import recording
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from tests.support import builders
from tests.support.builders import DAY, QUEUE, RESCUE_AFTER
from tests.support.eventually import eventually
from tests.support.listing import listed
from tests.support.throwing import recorded_ids, throw

WAYS = pytest.mark.parametrize(
    "make",
    [Throw, partial(Throw, expires_at=datetime.now(UTC) + DAY)],
    ids=["by-one-statement", "by-a-transaction"],
)
"""Signals that are recorded in either way."""


@pytest.fixture
def accept(database):
    """Call it to number throws of these names, in their order."""
    return partial(builders.accept, database)


@pytest.fixture
def record(database):
    return partial(builders.record, database)


@pytest.fixture
def read(signals):
    """Call it with filters to return the ids of a page."""

    async def read(**filters):
        return [signal.id for signal in await listed(signals, **filters)]

    return read


class Unhurried(Database):
    """Its transactions have done everything but the commit once `done` is set; they commit when `go` is."""

    def __init__(self, url):
        super().__init__(url)
        self.done, self.go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def transaction(self):
        async with super().transaction() as session:
            yield session
            self.done.set()
            await self.go.wait()

    async def fetch(self, statement, *args, **parameters):
        if statement is not recording._Sql.record_plain:  # noqa: SLF001
            return await super().fetch(statement, *args, **parameters)
        async with self.transaction() as session:
            return await session.fetch(statement, **parameters)


@pytest.fixture
async def unhurried(database_url):
    async with Unhurried(database_url) as database:
        yield database


async def waiting(database):
    """Return how many statements wait for somebody else's lock."""
    return await database.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )


async def test_a_signal_that_is_recorded_after_one_with_a_higher_id_is_read_after_it(accept, record, read, database):
    """The recorder of the first one is held up in the middle of its transaction, while another records the second."""
    subscription = await SubscriptionStore(database).create(
        SubscriptionSpec(name="first", targets=(QUEUE,), once=True), secret=None
    )
    first, second = await accept("first", "second")
    async with database.transaction() as holding:
        await holding.execute("SELECT FROM subscriptions WHERE id = $1 FOR UPDATE", subscription.id)
        slow = asyncio.create_task(record(first))
        await eventually(lambda: waiting(database))
        await record(second)
        assert await read() == [second.id]
    await slow
    assert await read(after_id=second.id) == [first.id]
    assert await read() == [second.id, first.id]
    assert await read(after_id=first.id) == []


@WAYS
async def test_nobody_records_past_a_recorder_whose_signals_are_not_visible_yet(accept, record, read, unhurried, make):
    earlier, later, last = await accept(*[make(name="a")] * 3)
    before = asyncio.create_task(SignalStore(unhurried).record([later], rescue_after=RESCUE_AFTER))
    await unhurried.done.wait()
    behind = asyncio.create_task(record(earlier))
    await eventually(lambda: waiting(unhurried))
    assert await read() == []
    unhurried.go.set()
    await asyncio.gather(before, behind)
    assert await read() == [later.id, earlier.id]
    await record(last)
    assert await read(after_id=later.id) == [earlier.id, last.id]
    assert await SignalStore(unhurried).last_id() == last.id


@WAYS
async def test_a_recorder_that_was_overtaken_looks_again(accept, record, signals, unhurried, make):
    """Both found the signal unrecorded; the second one of them finds out when it notes what is owed."""
    known, new = await accept(make(name="a"), make(name="b"))
    first = asyncio.create_task(SignalStore(unhurried).record([known], rescue_after=RESCUE_AFTER))
    await unhurried.done.wait()
    overtaken = asyncio.create_task(record(known, new))
    await eventually(lambda: waiting(unhurried))
    unhurried.go.set()
    await asyncio.gather(first, overtaken)
    assert [signal.throw.name for signal in await listed(signals)] == ["a", "b"]


@pytest.mark.slow
async def test_recorders_side_by_side_leave_no_gap_for_a_reader(accept, record, read):
    """Their batches are large and small and overlap in time and in ids, and somebody pages as they come in."""
    accepted = await accept(*["a", "b"] * 300)
    shuffled, chance = list(accepted), random.Random(3)
    chance.shuffle(shuffled)

    async def recorder(size):
        while shuffled:
            batch = [shuffled.pop() for _ in range(min(size, len(shuffled)))]
            await record(*batch)

    async def reader(name, count):
        ids = []
        while len(ids) < count:
            ids += await read(after_id=ids[-1] if ids else 0, limit=chance.randint(1, 30), name=name)
        return ids

    async with asyncio.timeout(60):
        *_, everything, named = await asyncio.gather(*map(recorder, (1, 2, 60)), reader(None, 600), reader("b", 300))
    assert sorted(everything) == [signal.id for signal in accepted]
    assert sorted(named) == [signal.id for signal in accepted if signal.throw.name == "b"]


async def test_an_id_that_is_not_recorded_is_followed_by_all_with_higher_ids(accept, record, read):
    lost, first, waits, second, late = await accept("a", "a", "a", "a", "a")
    await record(first, late)
    assert await read(after_id=lost.id) == [first.id, late.id]
    assert await read(after_id=waits.id) == [late.id]
    await record(second)
    assert await read(after_id=waits.id) == [late.id, second.id]
    await record(waits)
    assert await read(after_id=waits.id) == []
    assert await read(after_id=late.id) == [second.id, waits.id]
    assert await read(after_id=late.id + 1) == []


async def test_a_page_since_a_moment_holds_what_was_recorded_long_after_it(accept, record, read, database):
    old, late, young = await accept("a", "a", "a")
    await record(old)
    await record(young, late)
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
    hours = {old.id: (1, 1), late.id: (3, 6), young.id: (4, 5)}
    for signal_id, (created, recorded) in hours.items():
        await database.execute(
            "UPDATE signals SET created_at = $2, recorded_at = $3 WHERE id = $1",
            signal_id,
            noon + timedelta(hours=created),
            noon + timedelta(hours=recorded),
        )
    await database.execute(
        "UPDATE signals SET position = (SELECT count(*) FROM signals AS s WHERE s.recorded_at < signals.recorded_at)"
    )
    assert await read(since=noon) == [old.id, young.id, late.id]
    assert await read(since=noon + timedelta(hours=2)) == [young.id, late.id]
    assert await read(since=noon + timedelta(hours=3, minutes=30)) == [young.id]
    assert await read(since=noon + timedelta(hours=2), until=noon + timedelta(hours=4)) == [late.id]
    assert await read(since=noon + timedelta(hours=7)) == []
    assert await read(since=noon, after_id=young.id) == [late.id]


async def test_the_next_page_begins_after_the_last_item_whatever_its_id(client, product, name):
    for _ in range(3):
        await throw(client, name)
    await recorded_ids(client, name, 3)
    whole = await client.get(f"/v1/signals?name={name}")
    first, second, third = (item["id"] for item in whole["items"])
    page = await client.get(f"/v1/signals?name={name}&limit=2")
    assert ([item["id"] for item in page["items"]], page["next"]) == ([first, second], str(second))
    page = await client.get(f"/v1/signals?name={name}&limit=2&afterId={page['next']}")
    assert ([item["id"] for item in page["items"]], page["next"]) == ([third], None)
