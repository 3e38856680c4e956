"""Telling events: what was noted becomes events, and these become signals for the subscriptions that ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog

from broker.events import Event
from broker.messages import signal_message
from broker.operations.reports import ranges
from broker.signals import Signal
from broker.store.events import EventStore
from broker.store.postgres.database import Database
from broker.store.signals.intake_books import IntakeBooks
from broker.store.signals.signals import IdempotencyKey, SignalStore
from broker.topology import RECORD
from broker.transport import Transport

_NOTES = 1000
_SIGNALS = 100
"""How many signals are published at a time."""
_PRINCIPAL = "$broker"
"""Whose idempotency keys number them: no other principal is called so."""

log = structlog.get_logger()


class EventTeller:
    """Tells events. Any number of them may, and each may be killed at any moment: an event has one signal all the same.

    It is numbered with an idempotency key, and what is published twice is recorded once. Taps get none of these
    signals: a topic exchange cannot leave them out of what is bound with `#`.

    Args:
        database: Where events and signals are.
        transport: Takes the signals.
        timeout: How long publishing one may take.
    """

    def __init__(self, database: Database, transport: Transport, *, timeout: timedelta) -> None:
        self._events = EventStore(database)
        self._signals = SignalStore(database)
        self._books = IntakeBooks(database)
        self._transport = transport
        self._timeout = timeout

    async def tell(self) -> int:
        """Combine what was noted, and publish what is to be told; return how many notes or signals there were.

        Raises:
            StoreUnavailable, TransportError: Some could not be told now. They will be the next time.
        """
        noted = await self._events.combine(limit=_NOTES)
        events = await self._events.unsettled(limit=_SIGNALS)
        if events:
            await self._publish(await self._number(events))
        return max(noted, len(events))

    async def forget(self) -> int:
        """Forget a part of the old events; return how many."""
        return await self._events.forget(limit=_NOTES)

    async def _number(self, events: Sequence[Event]) -> dict[int, Signal]:
        """Return the signal of each event, by the event's id. One that was numbered before keeps its number."""
        new = [event for event in events if event.signal_id is None]
        keys = [IdempotencyKey(principal=_PRINCIPAL, key=f"event {event.id}", body_hash=b"") for event in new]
        numbered = await self._signals.number([(event.throw, key) for event, key in zip(new, keys, strict=True)])
        numbers = {event.id: (one.id, one.created_at) for event, one in zip(new, numbered, strict=True)}
        if numbers:
            await self._events.note_signals(numbers)
        for event in events:
            if event.signal_id is not None and event.signal_at is not None:
                numbers[event.id] = event.signal_id, event.signal_at
        return {
            event.id: Signal(id=numbers[event.id][0], created_at=numbers[event.id][1], throw=event.throw)
            for event in events
        }

    async def _publish(self, signals: dict[int, Signal]) -> None:
        failures = await asyncio.gather(
            *(
                self._transport.publish(
                    signal_message(signal), exchange="", routing_key=RECORD, timeout=self._timeout, repeatable=True
                )
                for signal in signals.values()
            ),
            return_exceptions=True,
        )
        told = {key: one for (key, one), failure in zip(signals.items(), failures, strict=True) if failure is None}
        if told:
            await self._books.report_accepted(ranges(signal.id for signal in told.values()))
            await self._events.settle(told)
        for event_id, signal in told.items():
            throw = signal.throw
            log.info("event.told", event_id=event_id, name=throw.name, signal_id=signal.id)
        for failure in filter(None, failures):
            raise failure
