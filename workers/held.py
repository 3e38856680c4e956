"""Reports of what a recorder holds, for the books of the intake."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from broker.errors import SignalBrokerError
from broker.store.signals.intake_books import HELD_LONG, IntakeBooks
from broker.topology import RECORD
from broker.transport import Transport

_EVERY = 1.0
_KEPT_FOR_LOST = 75.0
"""Seconds for which RabbitMQ 4.3 may keep what it handed out to a consumer that was lost: it waits for a minute."""

log = structlog.get_logger()


@asynccontextmanager
async def reporting_held(
    transport: Transport, books: IntakeBooks, *, set_aside: Callable[[], int], proof: Callable[[], int]
) -> AsyncIterator[None]:
    """Report every second, while the block runs, how many messages of the record queue are held here.

    They are stuck if they are held for long, or if the server may still keep some for a consumer that was lost.
    *set_aside* returns how many of these are tried again and again, and *proof* the number of the last proof that was
    handed out here.
    """
    name = uuid.uuid4().hex
    task = asyncio.create_task(_report(name, transport, books, set_aside, proof), name="reports")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        with suppress(SignalBrokerError):
            await books.forget_recorder(name)


async def _report(
    name: str, transport: Transport, books: IntakeBooks, set_aside: Callable[[], int], proof: Callable[[], int]
) -> None:
    clock = asyncio.get_running_loop().time
    held: dict[int, float] = {}
    while True:
        now = clock()
        held = {tag: held.get(tag, now) for tag in transport.unsettled(RECORD)}
        held_long = now - min(held.values(), default=now) > HELD_LONG.total_seconds()
        stuck = held_long or set_aside() > 0 or clock() - transport.lost_at(RECORD) < _KEPT_FOR_LOST
        try:
            await books.report_held(name, len(held), stuck=stuck, proof=proof())
        except SignalBrokerError as error:
            log.debug("reports.postponed", error=str(error))
        await asyncio.sleep(_EVERY)
