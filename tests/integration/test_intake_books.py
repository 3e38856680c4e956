"""The books of the intake: every signal that was accepted is recorded, awaiting its record, poison, or lost."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from broker import metrics
from broker.errors import TransportError
from broker.messages import signal_message
from broker.operations.books import BookReader
from broker.operations.intake import Intake
from broker.operations.recovery import recover
from broker.operations.reports import AcceptanceReports, ranges
from broker.settings import Settings
from broker.signals import Throw
from broker.store.deliveries.ordering import OrderingStore
from broker.store.signals.intake_books import IntakeBooks, QueueDepths
from broker.store.signals.signals import IdempotencyKey, SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.topology import RECORD, TOPOLOGY, dead_letters
from broker.transport import Message, Settlement
from broker.transport.rabbitmq import RabbitTransport
from tests.support.builders import accept, record
from tests.support.eventually import eventually
from tests.support.intake import NOTHING, judge_often, lose, prove, seeing
from tests.support.messaging import holds, take
from tests.support.proxy import proxy
from tests.support.rabbitmq import on_channel
from tests.support.rabbitmq_nodes import free_ports
from workers.bookkeeper import Bookkeeper
from workers.recorder import Recorder

SOON = timedelta(seconds=0.06)
DEAD = dead_letters(RECORD)


@pytest.fixture
def books(database):
    return IntakeBooks(database, lost_after=SOON)


@pytest.fixture
def throw(database, transport):
    """Call it to accept so many signals, as a gateway that ends afterwards; it returns them."""

    async def throw(count, **spec):
        async with (
            AcceptanceReports(IntakeBooks(database)) as reports,
            Intake(transport, SignalStore(database), OrderingStore(database), reports, Settings()) as intake,
        ):
            throws = [Throw(name="a", **spec) for _ in range(count)]
            return [accepted.signal for accepted in await asyncio.gather(*map(intake.accept, throws))]

    return throw


async def remove(transport, count, settlement=Settlement.ACK, queue=RECORD):
    """Take messages from the record queue, or another one, behind the product."""
    async with transport.consume(queue, prefetch=count) as inbox:
        await inbox.settle(await take(inbox, count), settlement)


def gauge(name):
    return metrics.REGISTRY.get_sample_value(f"signal_broker_{name}")


async def pass_by(database):
    """Let a recorder be handed out a proof, which is behind everything that is in the books."""
    now = await database.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    await IntakeBooks(database).report_held("other", 0, stuck=False, proof=now)


async def report(database, *names):
    """Return signals that are numbered, and reported as accepted."""
    signals = await accept(database, *names)
    await IntakeBooks(database).report_accepted(ranges(signal.id for signal in signals))
    return signals


@asynccontextmanager
async def recording(database, transport):
    """Run a recorder while the block runs."""
    recorder = Recorder(transport, SignalStore(database), IntakeBooks(database), SuspectStore(database), Settings())
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(recorder.run(stopping))
        try:
            yield
        finally:
            stopping.set()


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
    await bookkeeper.measure()
    assert (gauge("signals_lost"), gauge("unaccounted"), gauge("signals_awaiting_record")) == (7, 0, 0)
    await record(database, *signals[:5])
    await bookkeeper.keep()
    await bookkeeper.measure()
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
    await database.execute("UPDATE recorders SET reported_at = reported_at - interval '20 seconds'")
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
    await bookkeeper.measure()
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


async def test_a_dead_queue_that_is_longer_than_a_look_leaves_what_is_missing_unaccounted(database, books):
    depths = QueueDepths(record=0, dead=20_000)
    first, *_ = await report(database, *"aaa")
    await judge_often(books, depths, seeing(first.id, complete=False))
    await pass_by(database)
    balance = await books.balance()
    assert (balance.unaccounted(depths), balance.lost, balance.poison) == (2, 0, 1)


async def bury(transport, *messages):
    """Publish *messages* straight to the dead queue of the record queue."""
    for message in messages:
        await transport.publish(message, exchange="", routing_key=DEAD, timeout=timedelta(seconds=5))


async def judged(bookkeeper, books, *, awaiting=0, poison=0, lost=0):
    """Keep the books once; return whether they say that."""
    await bookkeeper.keep()
    balance = await books.balance()
    return (balance.awaiting, balance.poison, balance.lost) == (awaiting, poison, lost)


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
