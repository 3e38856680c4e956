"""The scheduler: publishes deliveries and signals that are due, and rescues deliveries whose message was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import structlog

from broker import metrics
from broker.deliveries import DueAttempt
from broker.errors import StoreUnavailable, TransportError, Unroutable
from broker.metrics import Repeat
from broker.settings import Settings
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.expiring import ExpiringStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.signals.signals import SignalStore
from broker.streaks import Streak
from broker.taps import Taps
from broker.topology import LANES, attempt_queue
from broker.transport import Transport
from workers.dispatch import dispatch

_TICK = timedelta(seconds=0.25)
_MOST_DOUBLINGS = 3
"""How often the pause between sweeps is doubled while they fail: to two seconds."""
_COUNTING = timedelta(seconds=5)
_LIMIT = 1000
"""How many deliveries one sweep takes."""
_COUNTED = 100_000
"""How many overdue deliveries are counted, of each queue."""
_SIGNALS = 100
"""How many scheduled signals one sweep takes: their payloads come along."""
_DELTAS = 10_000
"""How many changes of the books are folded at a time."""

log = structlog.get_logger()


class Scheduler:
    """Sweeps several times a second; any number of schedulers share the work without knowing of each other.

    A delivery that a scheduler took and did not publish, because it crashed, is one that `rescue` finds later.
    """

    name = "scheduler"

    def __init__(
        self,
        transport: Transport,
        *,
        deliveries: DeliveryStore,
        expiring: ExpiringStore,
        pausing: PausingStore,
        ordering: OrderingStore,
        signals: SignalStore,
        settings: Settings,
    ) -> None:
        self._transport = transport
        self._taps = Taps(transport, timeout=settings.confirm_timeout)
        self._deliveries = deliveries
        self._expiring = expiring
        self._pausing = pausing
        self._ordering = ordering
        self._signals = signals
        self._settings = settings
        self._outcomes = Streak()
        self._counted = float("-inf")
        self._rescue_from = float("-inf")

    async def check(self) -> None:
        """Return unless sweeps have been failing for a while.

        Raises:
            SignalBrokerError: They have, for this reason.
        """
        self._outcomes.check()

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until *stopping* is set; a sweep that fails is repeated after a pause."""
        self._postpone_rescue()
        failures = 0
        while not stopping.is_set():
            more = False
            try:
                expired = await self.expire()
                released = await self.release()
                await self.release_waiting()
                rescued = await self.rescue()
                published = await self.publish_scheduled()
                await self._signals.forget_idempotency_keys()
                folded = await self._deliveries.fold_ledger(limit=_DELTAS)
                await self.count()
                more = max(expired, released, rescued) == _LIMIT or published == _SIGNALS or folded == _DELTAS
                failures = 0
                self._outcomes.note_success()
            except (StoreUnavailable, TransportError) as error:
                self._outcomes.note_failure(error)
                failures = min(failures + 1, _MOST_DOUBLINGS)
                log.warning("sweep.postponed", error=str(error))
                if isinstance(error, StoreUnavailable):
                    self._postpone_rescue()
            except Exception:
                failures = min(failures + 1, _MOST_DOUBLINGS)
                log.exception("sweep.failed")
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK.total_seconds() * 2**failures):
                        await stopping.wait()
        await self._taps.close()

    async def expire(self) -> int:
        """Cancel what is owed of signals that have expired, and publish what that lets go on.

        Return how many deliveries, or `once` subscriptions that they consumed, were looked at.
        """
        expired = await self._expiring.sweep(
            limit=_LIMIT, overdue_too=self._rescues, rescue_after=self._settings.rescue_after
        )
        if expired.cancelled:
            metrics.EXPIRED.inc(expired.cancelled)
            log.info("deliveries.expired", deliveries=expired.cancelled)
        await self._publish(expired.due_attempts)
        return max(expired.looked, await self._expiring.free(limit=_LIMIT))

    async def release(self) -> int:
        """Publish parked deliveries whose pause is over; return how many."""
        due_attempts = await self._deliveries.release(limit=_LIMIT, rescue_after=self._settings.rescue_after)
        await self._publish(due_attempts)
        return len(due_attempts)

    async def release_waiting(self) -> None:
        """Publish waiting deliveries that may go, and schedule the backlog of resumed subscriptions."""
        await self._publish(await self._pausing.sweep(rescue_after=self._settings.rescue_after))
        await self._publish(await self._ordering.sweep(rescue_after=self._settings.rescue_after))

    async def count(self) -> None:
        """Every few seconds, measure waiting deliveries, and forget what is no longer needed."""
        now = asyncio.get_running_loop().time()
        if now - self._counted < _COUNTING.total_seconds():
            return
        self._counted = now
        await self._pausing.forget()
        await self._ordering.forget_pending_records()
        circuits, seconds = await self._pausing.census()
        metrics.CIRCUITS.set(circuits)
        metrics.OLDEST_HELD.set(seconds)

    async def rescue(self) -> int:
        """Publish pending deliveries again whose message must be lost; return how many, of one queue at most.

        The message of an overdue delivery may just as well wait in a long queue, or in that of an app without workers.
        Some messages must be lost only if a queue holds fewer messages than it has overdue deliveries. After PostgreSQL
        was away, deliverers first get the time to store the outcomes that they kept.
        """
        if not self._rescues:
            return 0
        overdue = await self._deliveries.count_overdue(limit=_COUNTED)
        rescued = [await self._rescue(app) for app, count in overdue.items() if count > await self._queued(app)]
        return max(rescued, default=0)

    @property
    def _rescues(self) -> bool:
        """Whether an attempt whose end is overdue may be taken for abandoned."""
        return asyncio.get_running_loop().time() >= self._rescue_from

    def _postpone_rescue(self) -> None:
        # A deliverer may be waiting for an answer of the old connection, and then pauses.
        self._rescue_from = asyncio.get_running_loop().time() + 2 * self._settings.store_timeout.total_seconds()

    async def _rescue(self, app: str) -> int:
        rescued = await self._deliveries.rescue(app, limit=_LIMIT, rescue_after=self._settings.rescue_after)
        count = len(rescued.due_attempts)
        await self._publish(rescued.due_attempts)
        metrics.RESCUED.inc(count)
        metrics.REPEATS.labels(Repeat.RESCUED).inc(rescued.begun)
        log.warning("deliveries.rescued", deliveries=count, begun=rescued.begun, **({"app": app} if app else {}))
        return count

    async def publish_scheduled(self) -> int:
        """Publish scheduled signals whose moment has come to the taps; return how many.

        A signal whose publishing was not confirmed, or not stored, is published again; taps drop repeats.
        """
        due, expired = await self._signals.take_scheduled(limit=_SIGNALS, rescue_after=self._settings.rescue_after)
        failures = await asyncio.gather(*(self._taps.publish(signal) for signal in due), return_exceptions=True)
        published = [signal.id for signal, failure in zip(due, failures, strict=True) if failure is None]
        if published or expired:
            await self._signals.end_schedule([*published, *expired])
        for signal_id in published:
            log.info("signal.released", signal_id=signal_id)
        for failure in filter(None, failures):
            raise failure
        return len(due) + len(expired)

    async def _queued(self, app: str) -> int:
        """Return how many messages wait for the workers of *app* (``""``: any deliverer)."""
        queues = (attempt_queue(app),) if app else LANES
        try:
            depths = [await self._transport.depth(queue, timeout=self._settings.confirm_timeout) for queue in queues]
        except Unroutable:
            return _COUNTED  # as good as full: nothing can be published there
        return sum(depths)

    async def _publish(self, due_attempts: Sequence[DueAttempt]) -> None:
        await dispatch(self._transport, due_attempts, timeout=self._settings.confirm_timeout)
