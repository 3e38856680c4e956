"""The books of the intake, in tests: what becomes of signals that are missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from broker import metrics
from broker.operations.intake import Intake
from broker.operations.reports import AcceptanceReports, ranges
from broker.settings import Settings
from broker.signals import Signal, Throw
from broker.store.deliveries.ordering import OrderingStore
from broker.store.postgres.database import Database
from broker.store.signals.intake_books import IntakeBooks, QueueDepths, Sight
from broker.store.signals.signals import SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.topology import RECORD
from broker.transport import Settlement, Transport
from tests.support.builders import accept
from tests.support.eventually import eventually
from tests.support.messaging import take
from workers.recorder import Recorder

NOTHING = QueueDepths(record=0, dead=0)


async def prove(_: int) -> int:
    """Have no recorded signal that could be published again."""
    return 0


def seeing(*ids: int, complete: bool = True) -> Callable[[], Awaitable[Sight]]:
    """Return a look into a dead queue that holds the signals *ids*."""

    async def look() -> Sight:
        return Sight(ids, complete=complete)

    return look


async def lose(
    books: IntakeBooks,
    count: int,
    depths: QueueDepths = NOTHING,
    look: Callable[[], Awaitable[Sight]] = seeing(),  # noqa: B008  (it has no state)
) -> list[int]:
    """Fold and judge until *count* signals are lost, and return their ids."""
    lost: list[int] = []

    async def judge() -> bool:
        await books.fold()
        for first, last in await books.judge(depths, prove=prove, look=look):
            lost.extend(range(first, last + 1))
        return len(lost) >= count

    await eventually(judge)
    return lost


async def judge_often(
    books: IntakeBooks,
    depths: QueueDepths = NOTHING,
    look: Callable[[], Awaitable[Sight]] = seeing(),  # noqa: B008  (it has no state)
) -> None:
    """Let every signal that was accepted become overdue, and judge for longer than the grace: nothing is lost."""

    async def are_overdue() -> bool:
        await books.fold()
        balance = await books.balance()
        return balance.overdue == balance.awaiting

    await eventually(are_overdue)
    for _ in range(20):
        await books.fold()
        assert not await books.judge(depths, prove=prove, look=look)


async def throw_here(database: Database, transport: Transport, count: int, **spec: Any) -> list[Signal]:
    """Accept so many signals, as a gateway that ends afterwards; return them."""
    async with (
        AcceptanceReports(IntakeBooks(database)) as reports,
        Intake(transport, SignalStore(database), OrderingStore(database), reports, Settings()) as intake,
    ):
        throws = [Throw(name="a", **spec) for _ in range(count)]
        return [accepted.signal for accepted in await asyncio.gather(*map(intake.accept, throws))]


async def remove(
    transport: Transport, count: int, settlement: Settlement = Settlement.ACK, queue: str = RECORD
) -> None:
    """Take messages from the record queue, or another one, behind the product."""
    async with transport.consume(queue, prefetch=count) as inbox:
        await inbox.settle(await take(inbox, count), settlement)


def gauge(name: str) -> float | None:
    """Return the value of a metric."""
    return metrics.REGISTRY.get_sample_value(f"signal_broker_{name}")


async def report(database: Database, *names: str) -> list[Signal]:
    """Return signals that are numbered, and reported as accepted."""
    signals = await accept(database, *names)
    await IntakeBooks(database).report_accepted(ranges(signal.id for signal in signals))
    return signals


async def pass_by(database: Database) -> None:
    """Let a recorder be handed out a proof, which is behind everything that is in the books."""
    now = await database.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    await IntakeBooks(database).report_held("other", 0, stuck=False, proof=now)


@asynccontextmanager
async def recording(database: Database, transport: Transport) -> AsyncIterator[None]:
    """Run a recorder while the block runs."""
    recorder = Recorder(transport, SignalStore(database), IntakeBooks(database), SuspectStore(database), Settings())
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(recorder.run(stopping))
        try:
            yield
        finally:
            stopping.set()
