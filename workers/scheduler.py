"""The scheduler: publishes deliveries and signals that are due, and deliveries whose message was lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import structlog

from broker import metrics
from broker.deliveries import DueAttempt
from broker.errors import StoreUnavailable, TransportError, Unroutable
from broker.publishing import publish_to_all
from broker.settings import Settings
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.signals.signals import SignalStore
from broker.topology import ATTEMPT, RECORD, SLOW, attempt_queue, dead_letters
from broker.transport import Transport
from workers.dispatch import dispatch

_TICK = timedelta(seconds=0.25)
_COUNTING = timedelta(seconds=5)
_LIMIT = 1000
"""How many deliveries one sweep takes."""
_COUNTED = 100_000
"""How many deliveries that wait for too long are counted, of each queue."""
_SIGNALS = 100
"""How many scheduled signals one sweep takes: their payloads come along."""

_LOST = timedelta(minutes=10)
"""A signal that was answered so long ago and is neither recorded nor queued is lost."""
_DELTAS = 10_000
"""How many changes of the books are folded at a time."""

log = structlog.get_logger()


class Scheduler:
    """Sweeps several times a second; any number of schedulers share the work without knowing of each other.

    A crash between taking a delivery and publishing it is what `repair` finds later.
    """

    name = "scheduler"

    def __init__(
        self,
        transport: Transport,
        *,
        deliveries: DeliveryStore,
        pausing: PausingStore,
        lines: OrderingStore,
        signals: SignalStore,
        settings: Settings,
    ) -> None:
        self._transport = transport
        self._deliveries = deliveries
        self._pausing = pausing
        self._lines = lines
        self._signals = signals
        self._settings = settings
        self._counted = float("-inf")

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until *stopping* is set."""
        while not stopping.is_set():
            more = False
            try:
                released = await self.release()
                await self.let_go_on()
                repaired = await self.repair()
                published = await self.publish_scheduled()
                await self._signals.forget_idempotency_keys()
                folded = await self._deliveries.fold_ledger(limit=_DELTAS)
                await self.count()
                more = max(released, repaired) == _LIMIT or published == _SIGNALS or folded == _DELTAS
            except (StoreUnavailable, TransportError) as error:
                log.warning("sweep.postponed", error=str(error))
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK.total_seconds()):
                        await stopping.wait()

    async def release(self) -> int:
        """Publish parked deliveries whose pause is over; return how many."""
        due_attempts = await self._deliveries.release(limit=_LIMIT, rescue_after=self._settings.rescue_after)
        await self._publish(due_attempts)
        return len(due_attempts)

    async def let_go_on(self) -> None:
        """Publish what was held, and let be told when to go on what was held during a pause."""
        await self._publish(await self._pausing.sweep(rescue_after=self._settings.rescue_after))
        await self._publish(await self._lines.sweep(rescue_after=self._settings.rescue_after))

    async def count(self) -> None:
        """Every few seconds, measure what is held and look at the books, and forget what nobody needs any more."""
        now = asyncio.get_running_loop().time()
        if now - self._counted < _COUNTING.total_seconds():
            return
        self._counted = now
        await self._pausing.forget()
        await self.forget_expected()
        circuits, seconds = await self._pausing.census()
        metrics.CIRCUITS.set(circuits)
        metrics.OLDEST_HELD.set(seconds)
        books = await self._deliveries.ledger()
        metrics.UNACCOUNTED.set(books.unaccounted)

    async def forget_expected(self) -> None:
        """Expect signals no longer that are recorded, and those that will never be: nobody waits for them then.

        That is one which was expected for minutes, though the queue of the recorders is empty: it was poison.
        """
        await self._lines.forget_expected()
        if await self._lines.expected_for() < _LOST or await self._transport.depth(
            RECORD, timeout=self._settings.confirm_timeout
        ):
            return
        lost = await self._lines.forget_expected(older_than=_LOST)
        if lost:
            log.error("signals.lost", signals=lost, hint=f"look into {dead_letters(RECORD)}")

    async def repair(self) -> int:
        """Publish pending deliveries again whose message must be lost; return how many, of one queue at most.

        A delivery that should have been attempted by now may just as well be waiting in a long queue, or in that of an
        app which nobody runs. Only when a queue holds fewer messages than there are such deliveries of its own, some of
        them must be lost.
        """
        repaired = [
            await self._repair(app)
            for app, overdue in (await self._deliveries.overdue(limit=_COUNTED)).items()
            if overdue > await self._waiting(app)
        ]
        return max(repaired, default=0)

    async def _repair(self, app: str) -> int:
        due_attempts = await self._deliveries.repair(app, limit=_LIMIT, rescue_after=self._settings.rescue_after)
        await self._publish(due_attempts)
        metrics.REPAIRED.inc(len(due_attempts))
        log.warning("deliveries.repaired", deliveries=len(due_attempts), **({"app": app} if app else {}))
        return len(due_attempts)

    async def publish_scheduled(self) -> int:
        """Publish scheduled signals whose moment has come to the taps; return how many.

        What is not confirmed, or was not noted to be, is published again. The recorder, who knows them, drops them.
        """
        due, expired = await self._signals.take_scheduled(limit=_SIGNALS, rescue_after=self._settings.rescue_after)
        timeout = self._settings.confirm_timeout
        failures = await asyncio.gather(
            *(publish_to_all(self._transport, signal, timeout=timeout) for signal in due), return_exceptions=True
        )
        published = [signal.id for signal, failure in zip(due, failures, strict=True) if failure is None]
        if published or expired:
            await self._signals.end_schedule([*published, *expired])
        for signal_id in published:
            log.info("signal.released", signal_id=signal_id)
        for failure in filter(None, failures):
            raise failure
        return len(due) + len(expired)

    async def _waiting(self, app: str) -> int:
        """Return how many messages wait for whoever makes the attempts of *app* (``""``: any deliverer)."""
        queues = (attempt_queue(app),) if app else (ATTEMPT, SLOW)
        try:
            depths = [await self._transport.depth(queue, timeout=self._settings.confirm_timeout) for queue in queues]
        except Unroutable:
            return _COUNTED  # as good as full: nothing can be published there
        return sum(depths)

    async def _publish(self, due_attempts: list[DueAttempt]) -> None:
        await dispatch(self._transport, due_attempts, timeout=self._settings.confirm_timeout)
