"""Signals that take no more than their own rows are recorded by one statement, and all others as well as ever."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest

from broker.deliveries import Reason
from broker.messages import signal_message
from broker.settings import Settings
from broker.signals import Throw
from broker.store.postgres.database import Database, Session
from broker.store.signals import recording, signals
from broker.store.signals.intake_books import IntakeBooks
from broker.store.signals.signals import SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import RECORD, TOPOLOGY
from broker.transport import Settlement
from broker.transport.embedded import EmbeddedTransport
from tests.support.builders import DAY, QUEUE, RESCUE_AFTER, accept
from tests.support.eventually import eventually
from tests.support.listing import listed
from tests.support.messaging import SOON, take
from workers.recorder import Recorder

TOMORROW = datetime.now(UTC) + DAY


@pytest.fixture
def make(subscriptions):
    async def make(**spec):
        spec = {"name": "sig", "targets": (QUEUE,), **spec}
        return (await subscriptions.create(SubscriptionSpec(**spec), secret=None)).id

    return make


@pytest.fixture
def statements(monkeypatch):
    """The names of the statements that were carried out, and `BEGIN`."""
    carried_out = []
    transaction = Session.transaction

    def begin(self):
        carried_out.append("BEGIN")
        return transaction(self)

    monkeypatch.setattr(Session, "transaction", begin)

    def noting(do):
        async def note(self, statement, *args, **parameters):
            carried_out.append(getattr(statement, "name", statement))
            return await do(self, statement, *args, **parameters)

        return note

    monkeypatch.setattr(Session, "fetch", noting(Session.fetch))
    monkeypatch.setattr(Session, "execute", noting(Session.execute))
    return carried_out


async def test_signals_that_depend_on_nothing_are_recorded_by_one_statement(database, make, statements):
    named, every = await make(), await make(name="*")
    thrown = await accept(database, "sig", "sig", "other", Throw(name="sig", tenant_id="t", payload=b'{"a": 1}'))
    statements.clear()
    recorded = await SignalStore(database).record(thrown, rescue_after=RESCUE_AFTER)
    assert [name.rpartition(" ")[2] for name in statements] == ["paths", "find", "record_plain"]
    assert (recorded.left, recorded.repeats, recorded.taken) == ([], 0, frozenset())
    owed = [(one.id, to) for one in thrown for to in (named, every) if to == every or one.throw.name == "sig"]
    assert sorted((due.signal_id, due.subscription_id) for due in recorded.due_attempts) == owed
    expiring = await database.fetchval("SELECT count(*) FROM deliveries WHERE expires_at IS NOT NULL")
    assert expiring == 0, "the sweep of those that expire has nothing to look at"
    store = SignalStore(database)
    assert [(await store.get(one.id)).throw for one in thrown] == [one.throw for one in thrown]


@pytest.mark.parametrize(
    ("throw", "spec"),
    [
        ({"ordering_key": "k"}, {}),
        ({"ordering_key": "k"}, {"ordered": True}),
        ({"expires_at": TOMORROW}, {}),
        ({"deliver_at": TOMORROW}, {}),
        ({}, {"once": True}),
    ],
    ids=["key", "ordered", "expiring", "scheduled", "once"],
)
async def test_signals_that_depend_on_others_or_on_the_time_take_a_transaction(database, make, statements, throw, spec):
    await make(**spec)
    thrown = await accept(database, "sig", Throw(name="sig", **throw))
    statements.clear()
    await SignalStore(database).record(thrown, rescue_after=RESCUE_AFTER)
    assert "BEGIN" in statements
    assert recording._Sql.record_plain.name not in statements  # noqa: SLF001
    assert await database.fetchval("SELECT count(*) FROM deliveries") == 2 - spec.get("once", False)


async def test_one_that_is_deleted_after_a_signal_was_accepted_is_owed_it_and_that_is_cancelled(
    database, make, subscriptions, statements, deliveries
):
    subscription_id = await make()
    thrown = await accept(database, "sig")
    await subscriptions.delete(subscription_id)
    await SignalStore(database).record(thrown, rescue_after=RESCUE_AFTER)
    assert recording._Sql.record_plain.name not in statements  # noqa: SLF001
    assert [one.state.value for one in await listed(deliveries, subscription_id=subscription_id)] == ["cancelled"]


async def test_of_a_batch_that_was_recorded_in_part_the_rest_is_recorded(database, make, deliveries):
    subscription_id = await make()
    store = SignalStore(database)
    known, new, *others = await accept(database, *["sig"] * 5)
    await store.record([known], rescue_after=RESCUE_AFTER)
    recorded = await store.record([known, new, *others], rescue_after=RESCUE_AFTER)
    assert recorded.repeats == 1
    assert sorted(due.signal_id for due in recorded.due_attempts) == [one.id for one in (known, new, *others)]
    assert len(await listed(deliveries, subscription_id=subscription_id)) == 5
    ledger = await deliveries.ledger()
    assert (ledger.recorded, ledger.matched, ledger.unaccounted) == (5, 5, 0)


async def test_of_a_batch_that_was_recorded_in_part_both_parts_are_held_back(database, make, deliveries):
    first, second = await make(max_in_flight=1), await make(name="other", max_per_second=1)
    store = SignalStore(database)
    known, new = await accept(database, "sig", "other")
    for batch, held_back in (
        ([known], {(first, Reason.IN_FLIGHT)}),
        ([known, new], {(first, Reason.IN_FLIGHT), (second, Reason.RATE)}),
    ):
        recorded = await store.record(batch, rescue_after=RESCUE_AFTER, has_room=lambda _: False)
        assert (recorded.due_attempts, recorded.waiting, recorded.held_back) == ([], 1, held_back)
    found = [one for to in (first, second) for one in await listed(deliveries, subscription_id=to)]
    assert [(one.state.value, one.reason) for one in found] == [("parked", Reason.IN_FLIGHT), ("parked", Reason.RATE)]


def room_for(count):
    """Return what has room for so many attempts, and the subscriptions that asked for it."""
    asked = []

    def has_room(subscription):
        asked.append(subscription.id)
        return len(asked) <= count

    return has_room, asked


async def test_signals_that_come_again_take_no_room_from_those_that_are_new(database, make):
    await make()
    store = SignalStore(database)
    *known, new = await accept(database, *["sig"] * 5)
    await store.record(known, rescue_after=RESCUE_AFTER)
    has_room, asked = room_for(1)
    recorded = await store.record([*known, new], rescue_after=RESCUE_AFTER, has_room=has_room, are_repeats=True)
    assert (len(asked), recorded.waiting, recorded.repeats) == (1, 0, 4)


@pytest.mark.parametrize("change", ["description = 'changed'", "max_in_flight = 500"])
async def test_the_room_of_what_has_to_be_looked_at_again_is_not_lost(database, make, monkeypatch, change):
    subscription_id = await make()
    find, changes = signals.find_matches, [change]

    async def find_and_change(*args):
        found = await find(*args)
        while changes:
            await database.execute(f"UPDATE subscriptions SET {changes.pop()} WHERE id = $1", subscription_id)
        return found

    monkeypatch.setattr(signals, "find_matches", find_and_change)
    has_room, asked = room_for(3)
    thrown = await accept(database, *["sig"] * 3)
    recorded = await SignalStore(database).record(thrown, rescue_after=RESCUE_AFTER, has_room=has_room)
    assert (len(asked), len(recorded.due_attempts), recorded.waiting) == (3, 3, 0)


async def test_a_recorder_says_whether_messages_came_before(database):
    said = []

    class Noting(SignalStore):
        async def record(self, signals, *, are_repeats, **more):
            said.append((len(signals), are_repeats))
            return await super().record(signals, are_repeats=are_repeats, **more)

    async with EmbeddedTransport(database) as transport:
        await transport.declare(TOPOLOGY)
        for one in await accept(database, "sig", "sig"):
            await transport.publish(signal_message(one), exchange="", routing_key=RECORD, timeout=SOON)
        recorder = Recorder(transport, Noting(database), IntakeBooks(database), SuspectStore(database), Settings())
        async with transport.consume(RECORD, prefetch=2) as inbox:
            messages = await take(inbox, 2)
            await recorder.handle(messages[:1])
            await inbox.settle(messages, Settlement.RETURN)
            await recorder.handle(await take(inbox, 2))
    assert said == [(1, False), (2, True)]


@pytest.mark.slow
async def test_recorders_that_race_for_batches_that_overlap_record_everything_once(
    database_url, database, make, deliveries
):
    """Some batches are plain, and some are not; each recorder has them in an order of its own."""
    for spec in ({}, {"name": "*"}, {"ordered": True}, {"name": "other", "once": True}):
        await make(**spec)
    chance = random.Random(7)
    throws = [
        Throw(
            name=chance.choice(["sig", "other"]), ordering_key=chance.choice(["k", "l"]) if number % 30 > 24 else None
        )
        for number in range(300)
    ]
    thrown = await accept(database, *throws)
    batches = [thrown[start : start + 10] for start in range(0, 300, 5)]
    due = []

    async def record_all(of, seed):
        store = SignalStore(of)
        for batch in random.Random(seed).sample(batches, len(batches)):
            left = random.Random(seed).sample(batch, len(batch))
            while left:
                recorded = await store.record(left, rescue_after=RESCUE_AFTER)
                due.extend(recorded.due_attempts)
                left = recorded.left

    async with Database(database_url, size=6) as other:
        await asyncio.gather(*(record_all(of, seed) for seed in range(3) for of in (database, other)))
    plain = sum(1 if throw.name == "other" else 2 for throw in throws)
    ordered = sum(throw.name == "sig" for throw in throws)
    assert await database.fetchval("SELECT count(*) FROM deliveries") == plain + ordered + 1
    ledger = await deliveries.ledger()
    assert (ledger.recorded, ledger.matched, ledger.unaccounted) == (300, plain + ordered + 1, 0)
    pending = await database.fetch("SELECT signal_id, subscription_id FROM deliveries WHERE state = 'pending'")
    assert {(one.signal_id, one.subscription_id) for one in due} == {tuple(row) for row in pending}


@pytest.mark.slow
async def test_a_reader_misses_nothing_while_recorders_write(database_url, database, make):
    """Positions become visible in ascending order, however a signal is recorded."""
    await make()
    thrown = await accept(
        database, *[Throw(name="sig", ordering_key="k" if number % 7 == 0 else None) for number in range(400)]
    )
    batches = iter([thrown[start : start + 4] for start in range(0, 400, 4)])
    seen = []

    async def read():
        rows = await database.fetch(
            "SELECT id, position FROM signals WHERE position > $1 ORDER BY position", seen[-1][1] if seen else 0
        )
        seen.extend(map(tuple, rows))
        return len(seen) == 400

    async def record():
        for batch in batches:
            await store.record(batch, rescue_after=RESCUE_AFTER)

    async with Database(database_url, size=6) as other:
        store = SignalStore(other)
        recording = asyncio.gather(*(record() for _ in range(5)))
        await eventually(read, every=0.001)
        await recording
    assert sorted(number for number, _ in seen) == [one.id for one in thrown]
