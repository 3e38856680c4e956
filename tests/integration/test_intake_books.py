"""The books of the intake: every signal that was accepted is recorded, awaiting its record, or lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs

from broker.errors import TransportError
from broker.operations.books import BookReader
from broker.operations.intake import Intake
from broker.operations.reports import AcceptanceReports, ranges
from broker.settings import Settings
from broker.signals import Throw
from broker.store.deliveries.ordering import OrderingStore
from broker.store.signals.intake_books import IntakeBooks, QueueDepths
from broker.store.signals.signals import IdempotencyKey, SignalStore
from broker.topology import RECORD, TOPOLOGY, dead_letters
from broker.transport.rabbitmq import RabbitTransport
from tests.support.builders import accept, record
from tests.support.eventually import eventually
from tests.support.intake import (
    NOTHING,
    gauge,
    judge_often,
    lose,
    pass_by,
    prove,
    recording,
    remove,
    report,
    seeing,
    throw_here,
)
from tests.support.messaging import holds
from tests.support.ports import free_ports
from tests.support.proxy import proxy
from tests.support.rabbitmq import on_channel
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


async def test_what_vanishes_from_the_record_queue_is_lost_and_named(database, transport, throw, books):
    bookkeeper = Bookkeeper(database, transport, Settings(), intake=books)
    signals = await throw(7)
    await remove(transport, 7)
    with capture_logs() as logs:

        async def is_lost():
            await bookkeeper.keep()
            return (await books.balance()).lost

        assert await eventually(is_lost) == 7
    (line,) = [line for line in logs if line["event"] == "signals.lost"]
    assert (line["signals"], line["ids"]) == (7, f"{signals[0].id}-{signals[-1].id}")
    await Measurer(database, transport, Settings()).measure_books()
    assert (gauge("signals_lost"), gauge("unaccounted"), gauge("signals_awaiting_record")) == (7, 0, 0)
    await record(database, *signals[:5])
    await bookkeeper.keep()
    await Measurer(database, transport, Settings()).measure_books()
    assert gauge("signals_lost") == 2


async def test_nothing_is_lost_while_the_record_queue_confirms_nothing(database, rabbitmq, rabbitmq_url):
    """A queue whose leader cannot be reached looks empty, too."""
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        await record(database, *await accept(database, "recorded"))
        await report(database, *"aaa")
        bookkeeper = Bookkeeper(database, transport, Settings(), intake=IntakeBooks(database, lost_after=SOON))

        async def lost():
            await bookkeeper.keep()
            return (await IntakeBooks(database).balance()).lost

        async def is_unproven():
            with suppress(TransportError):
                await lost()
                return False
            return True

        await asyncio.to_thread(rabbitmq.raise_memory_alarm)
        try:
            for _ in range(5):
                await eventually(is_unproven)
            assert (await IntakeBooks(database).balance()).lost == 0
        finally:
            await asyncio.to_thread(rabbitmq.clear_memory_alarm)

        async def are_lost():
            with suppress(TransportError):
                return await lost() == 3

        async with recording(database, transport):
            await eventually(are_lost)


async def test_nothing_is_lost_while_nobody_gets_what_the_record_queue_confirms(database, transport):
    """A queue whose leader was just elected may confirm what is published, look empty, and hand out nothing."""
    await record(database, *await accept(database, "recorded"))
    (signal,) = await report(database, "a")
    await database.execute("INSERT INTO expected_signals VALUES ($1, 'k')", signal.id)
    books = IntakeBooks(database, lost_after=SOON)
    bookkeeper = Bookkeeper(database, transport, Settings(), intake=books)

    async def keep():
        await books.fold()
        return await books.judge(NOTHING, prove=bookkeeper._prove, look=seeing())  # noqa: SLF001

    async def has_proofs():
        assert not await keep()
        return await transport.depth(RECORD, timeout=timedelta(seconds=5)) >= 3

    await eventually(has_proofs)
    assert await database.fetchval("SELECT count(*) FROM expected_signals") == 1, "later signals wait for it"
    async with recording(database, transport):
        lost = await eventually(keep)
    assert list(lost) == [(signal.id, signal.id)]


async def test_what_came_behind_the_proof_is_not_judged_by_it(database):
    await record(database, *await accept(database, "recorded"))
    (before,) = await report(database, "a")
    books = IntakeBooks(database, lost_after=timedelta(seconds=0.6))

    async def judge(prove):
        await books.fold()
        return await books.judge(NOTHING, prove=prove, look=seeing())

    numbers = []

    async def publish(number):
        numbers.append(number)
        return True

    async def is_published():
        assert not await judge(publish)
        return numbers

    await eventually(is_published)
    (behind,) = await report(database, "a")
    await eventually(lambda: _are_overdue(books, 2))
    await books.report_held("recorder", 0, stuck=False, proof=numbers[0])
    assert list(await eventually(lambda: judge(publish))) == [(before.id, before.id)]
    assert (await books.balance()).awaiting == 1, behind


async def _are_overdue(books, count):
    await books.fold()
    return (await books.balance()).overdue == count


async def test_what_waits_in_the_record_queue_is_awaiting_however_long(database, transport, throw, books):
    await throw(3)
    reader = BookReader(database, transport, timeout=timedelta(seconds=5))
    await holds(transport, RECORD, 3)
    await judge_often(books, await reader.depths())
    ledger = await reader.read()
    assert (ledger.awaiting_record, ledger.intake.lost, ledger.unaccounted) == (3, 0, 0)


async def test_what_a_recorder_holds_for_long_is_awaiting(database, books):
    await report(database, *"aaa")
    await books.report_held("recorder", 3, stuck=True)
    await judge_often(books)
    balance = await books.balance()
    assert (balance.awaiting_record(NOTHING), balance.unaccounted(NOTHING), balance.lost) == (3, 0, 0)
    await books.forget_recorder("recorder")
    balance = await books.balance()
    assert (balance.awaiting_record(NOTHING), balance.unaccounted(NOTHING)) == (3, 0), "the queue may hold them"
    await pass_by(database)
    assert (await books.balance()).unaccounted(NOTHING) == 3
    assert len(await lose(books, 3)) == 3


async def test_a_recorder_that_falls_silent_may_hold_what_is_missing(database):
    books = IntakeBooks(database, lost_after=timedelta(seconds=20))
    await report(database, *"aaa")
    await database.execute("UPDATE acceptance_reports SET reported_at = reported_at - interval '1 minute'")
    await pass_by(database)
    assert (await books.balance()).unaccounted(NOTHING) == 3
    await database.execute("UPDATE recorders SET reported_at = reported_at - interval '8 seconds'")
    balance = await books.balance()
    assert (balance.awaiting_record(NOTHING), balance.unaccounted(NOTHING), balance.silent) == (3, 0, True)
    await database.execute("UPDATE recorders SET reported_at = reported_at - interval '70 seconds'")
    assert not (await books.balance()).silent


async def test_whoever_consumes_and_does_not_report_may_hold_what_is_missing(database, books):
    """A recorder that has lost its store, for example, cannot say what it holds."""
    await report(database, *"aaa")
    await pass_by(database)
    strangers = replace(NOTHING, consumers=2)
    await judge_often(books, strangers)
    balance = await books.balance()
    assert (balance.awaiting_record(strangers), balance.unaccounted(strangers), balance.lost) == (3, 0, 0)
    assert len(await lose(books, 3, replace(NOTHING, consumers=1))) == 3


async def test_consumers_are_counted_where_some_might_not_report(rabbitmq_url):
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        async with transport.consume(RECORD, prefetch=1), transport.consume(RECORD, prefetch=1):
            await eventually(lambda: _has_consumers(transport, 2))
        await eventually(lambda: _has_consumers(transport, 0))


async def _has_consumers(transport, count):
    return await transport.consumers(RECORD, timeout=timedelta(seconds=5)) == count


async def test_a_signal_behind_was_recorded_so_those_before_it_are_not_in_a_long_queue(database, books):
    long = QueueDepths(record=1000, dead=0)
    missing = await report(database, *"aa")
    await judge_often(books, long)

    async def passed():
        (later,) = await accept(database, "a")
        await record(database, later)
        await books.fold()
        return [
            i for first, last in await books.judge(long, prove=prove, look=seeing()) for i in range(first, last + 1)
        ]

    assert await eventually(passed) == [signal.id for signal in missing]


async def test_a_dead_queue_that_is_longer_than_a_look_leaves_what_is_missing_unaccounted(database, books):
    depths = QueueDepths(record=0, dead=20_000)
    first, *_ = await report(database, *"aaa")
    await judge_often(books, depths, seeing(first.id, complete=False))
    await pass_by(database)
    balance = await books.balance()
    assert (balance.unaccounted(depths), balance.lost, balance.poison) == (2, 0, 1)


async def test_the_same_signal_accepted_twice_counts_once(database, transport, books):
    key = IdempotencyKey(principal="p", key="k", body_hash=b"h")
    async with (
        AcceptanceReports(books) as reports,
        Intake(transport, SignalStore(database), OrderingStore(database), reports, Settings()) as intake,
    ):
        first = await intake.accept(Throw(name="a"), key=key)
        again = await intake.accept(Throw(name="a"), key=key)
        assert (again.signal.id, again.replayed) == (first.signal.id, True)
    assert (await books.balance()).awaiting == 1
    await record(database, first.signal)
    assert (await books.balance()).awaiting == 0


async def test_a_backlog_of_a_million_signals_is_a_few_rows(database, books):
    await books.report_accepted([(1, 500_000)])
    await books.report_accepted([(500_001, 1_000_000)])
    await books.fold()
    assert (await books.balance()).awaiting == 1_000_000
    assert await database.fetchval("SELECT sum(pg_column_size(numbers)) FROM unrecorded_signals") < 200


async def test_dropped_partitions_leave_the_books(database, books):
    await report(database, *"aaa")
    await lose(books, 3)
    await database.execute("UPDATE blocks SET first_id = first_id + 1000, next_id = next_id + 1000")
    await books.fold()
    assert (await books.balance()).lost == 0


async def test_the_ledger_is_there_while_the_transport_is_not(database):
    await report(database, "a")
    (port,) = free_ports(1)
    async with RabbitTransport(f"amqp://127.0.0.1:{port}/") as transport:
        ledger = await BookReader(database, transport, timeout=timedelta(seconds=0.2)).read()
    assert (ledger.awaiting_record, ledger.poison, ledger.unaccounted) == (None, None, 0)
    assert ledger.transport_error.startswith(
        f"the depth of queue '{RECORD}' was not told within 0.2 s: 127.0.0.1:{port}"
    )


async def test_what_one_queue_does_not_tell_leaves_the_other_figures(database, rabbitmq_url):
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
    async with RabbitTransport(rabbitmq_url) as transport:
        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(RECORD))
        ledger = await BookReader(database, transport, timeout=timedelta(seconds=30)).read()
    assert (ledger.awaiting_record, ledger.poison[DEAD]) == (None, 0)
    assert ledger.transport_error.startswith(f"there is no queue '{RECORD}'")


async def test_a_link_that_is_lost_while_the_books_are_read_costs_no_figure(database, rabbitmq_url):
    async with proxy(rabbitmq_url) as link, RabbitTransport(link.url) as transport:
        await transport.declare(TOPOLOGY)
        link.stall(requests=False)
        reading = asyncio.create_task(BookReader(database, transport, timeout=timedelta(seconds=30)).read())
        await on_channel(rabbitmq_url, lambda _: None)  # by now the questions have been asked
        assert not reading.done()
        link.reset()
        link.restore()
        ledger = await reading
    assert (ledger.awaiting_record, ledger.poison[DEAD], ledger.transport_error) == (0, 0, None)


def test_ids_become_ranges():
    assert ranges([]) == []
    assert ranges([7, 3, 5, 4, 4]) == [(3, 5), (7, 7)]
