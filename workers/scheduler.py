"""The scheduler: publishes deliveries that are due, and those whose message was lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import structlog

from broker import metrics
from broker.deliveries import Due
from broker.errors import StoreUnavailable, TransportError
from broker.settings import Settings
from broker.store.deliveries import DeliveryStore
from broker.store.signals import SignalStore
from broker.topology import ATTEMPT
from broker.transport import Transport
from workers.dispatch import dispatch

_TICK = timedelta(seconds=0.25)
_LIMIT = 1000
"""How many deliveries one sweep takes."""

log = structlog.get_logger()


class Scheduler:
    """Sweeps several times a second; any number of schedulers share the work without knowing of each other.

    A crash between taking a delivery and publishing it is what `repair` finds later.
    """

    name = "scheduler"

    def __init__(
        self, transport: Transport, deliveries: DeliveryStore, signals: SignalStore, settings: Settings
    ) -> None:
        self._transport = transport
        self._deliveries = deliveries
        self._signals = signals
        self._settings = settings

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until *stopping* is set."""
        while not stopping.is_set():
            more = False
            try:
                released = await self.release()
                repaired = await self.repair()
                await self._signals.forget_idempotency_keys()
                more = max(released, repaired) == _LIMIT
            except (StoreUnavailable, TransportError) as error:
                log.warning("sweep.postponed", error=str(error))
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK.total_seconds()):
                        await stopping.wait()

    async def release(self) -> int:
        """Publish parked deliveries whose pause is over; return how many."""
        dues = await self._deliveries.release(limit=_LIMIT, look_after=self._settings.republish_after)
        await self._publish(dues)
        return len(dues)

    async def repair(self) -> int:
        """Publish pending deliveries again whose message must be lost; return how many.

        A delivery that should have been attempted by now may just as well be waiting in a long queue. Only when the
        queue holds fewer messages than there are such deliveries, some of them must be lost.
        """
        overdue = await self._deliveries.overdue(limit=100_000)
        if not overdue or overdue <= await self._transport.depth(ATTEMPT, timeout=self._settings.confirm_timeout):
            return 0
        dues = await self._deliveries.repair(limit=_LIMIT, look_after=self._settings.republish_after)
        await self._publish(dues)
        metrics.REPAIRED.inc(len(dues))
        log.warning("deliveries.repaired", deliveries=len(dues))
        return len(dues)

    async def _publish(self, dues: list[Due]) -> None:
        await dispatch(self._transport, dues, timeout=self._settings.confirm_timeout)
