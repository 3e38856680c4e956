"""Poison in the books of the intake: it is in the dead queue, among other messages, until it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs

from broker.messages import signal_message
from broker.operations.recovery import recover
from broker.settings import Settings
from broker.store.signals.intake_books import IntakeBooks, QueueDepths
from broker.topology import RECORD, dead_letters
from broker.transport import Message, Settlement
from tests.support.builders import accept, record
from tests.support.eventually import eventually
from tests.support.intake import (
    gauge,
    judge_often,
    lose,
    recording,
    remove,
    seeing,
    throw_here,
)
from tests.support.messaging import holds
from workers.bookkeeper import Bookkeeper
from workers.measurer import Measurer

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=0.06)
DEAD = dead_letters(RECORD)


@pytest.fixture
def books(database):
    return IntakeBooks(database, lost_after=SOON)


@pytest.fixture
def throw(database, transport):
    """Call it to accept so many signals, as a gateway that ends afterwards; it returns them."""
    return partial(throw_here, database, transport)


async def test_poison_is_not_lost_until_the_dead_queue_is_emptied(database, transport, throw, books):
    (signal,) = await throw(1, ordering_key="k")
    await database.execute("INSERT INTO expected_signals VALUES ($1, 'k')", signal.id)
    await remove(transport, 1, Settlement.REJECT)
    await holds(transport, DEAD, 1)
    await judge_often(books, QueueDepths(record=0, dead=1), seeing(signal.id))
    balance = await books.balance()
    assert (balance.poison, balance.awaiting, balance.lost) == (1, 0, 0)
    assert await database.fetchval("SELECT count(*) FROM expected_signals") == 0, "later signals need not wait for it"
    await lose(books, 1)
    assert (await books.balance()).poison == 0


async def test_garbage_in_the_dead_queue_hides_no_loss(database, transport, throw, books):
    """There lie messages that are no signals, poison, its repeat, and a signal that is recorded; others vanished."""
    bookkeeper = Bookkeeper(database, transport, Settings(), intake=books)
    (known,) = await accept(database, "recorded")
    await record(database, known)
    poison, *lost = await throw(11)
    await remove(transport, 11)
    broken = [replace(signal_message(one), body=b"garbage") for one in lost]
    await bury(
        transport, *[Message(body=b"garbage")] * 20, *[signal_message(poison)] * 2, signal_message(known), *broken
    )
    await holds(transport, DEAD, 33)

    async def judged():
        await bookkeeper.keep()
        balance = await books.balance()
        return balance.lost and balance

    with capture_logs() as logs:
        async with recording(database, transport):
            balance = await eventually(judged)
    assert (balance.lost, balance.poison, balance.awaiting) == (10, 1, 0)
    (line,) = [line for line in logs if line["event"] == "signals.lost"]
    assert line["ids"] == f"{lost[0].id}-{lost[-1].id}"
    await Measurer(database, transport, Settings()).measure_books()
    assert (gauge("signals_lost"), gauge("signals_poisoned"), gauge("unaccounted")) == (10, 1, 0)


async def test_poison_that_is_purged_is_lost_though_garbage_takes_its_place(database, transport, throw, books):
    bookkeeper = Bookkeeper(database, transport, Settings(), intake=books)
    poison = await throw(3)
    await remove(transport, 3, Settlement.REJECT)
    await holds(transport, DEAD, 3)
    await eventually(lambda: judged(bookkeeper, books, poison=3))
    await remove(transport, 3, queue=DEAD)
    await bury(transport, *[Message(body=b"garbage")] * 3)
    await eventually(lambda: judged(bookkeeper, books, lost=3))
    await bury(transport, signal_message(poison[0]))  # from a copy that the operator had kept
    await eventually(lambda: judged(bookkeeper, books, poison=1, lost=2))


async def test_poison_that_was_recovered_half_way_is_where_it_is(database, transport, throw, books):
    bookkeeper = Bookkeeper(database, transport, Settings(), intake=books)
    signals = await throw(4)
    await remove(transport, 4, Settlement.REJECT)
    await holds(transport, DEAD, 4)
    await eventually(lambda: judged(bookkeeper, books, poison=4))
    assert sum([one async for one in recover(transport, RECORD, 2, timeout=timedelta(seconds=5))]) == 2
    await eventually(lambda: judged(bookkeeper, books, awaiting=2, poison=2))
    await remove(transport, 2)
    await record(database, *signals[:2])
    await eventually(lambda: judged(bookkeeper, books, poison=2))


async def bury(transport, *messages):
    """Publish *messages* straight to the dead queue of the record queue."""
    for message in messages:
        await transport.publish(message, exchange="", routing_key=DEAD, timeout=timedelta(seconds=5))


async def judged(bookkeeper, books, *, awaiting=0, poison=0, lost=0):
    """Keep the books once; return whether they say that."""
    await bookkeeper.keep()
    balance = await books.balance()
    return (balance.awaiting, balance.poison, balance.lost) == (awaiting, poison, lost)
