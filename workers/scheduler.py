"""The scheduler: publishes deliveries and signals that are due, and rescues deliveries whose message was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial

import structlog

from broker import metrics
from broker.deliveries import DueAttempt
from broker.errors import StoreRefusal, StoreTimeout, StoreUnavailable, TransportError, Unroutable
from broker.messages import signal_message
from broker.metrics import Repeat
from broker.settings import Settings
from broker.store.administration.sessions import SessionStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.expiring import ExpiringStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.sweeping import SweepingStore, Work
from broker.store.deliveries.trials import TrialStore
from broker.store.postgres.database import DataError
from broker.store.signals.signals import SignalStore
from broker.streaks import Streak
from broker.taps import Taps
from broker.topology import BROADCAST, BY_NAME, DELIVERIES, LANES, RECORD, ROUTED, attempt_queue
from broker.transport import Transport, check_parts
from workers.dispatch import dispatch
from workers.events import EventTeller
from workers.headroom import Headroom
from workers.releasing import Releases
from workers.spacing import Spacing
from workers.sweeping import Rows, Step

_TICK = timedelta(seconds=0.25)
_SOON = timedelta(seconds=0.05)
"""A sweep begins so soon while more is due than the queues have room for: deliverers make room all the time."""
_UNHURRIED = timedelta(seconds=1)
_COUNTING = timedelta(seconds=5)
_SELDOM = timedelta(seconds=30)
_LIMIT = 1000
"""How many deliveries one sweep takes."""
_COUNTED = 100_000
"""How many overdue deliveries are counted, of each queue."""
_SIGNALS = 100
"""How many scheduled signals one sweep takes: their payloads come along."""
_TIMES, _MOST_SECONDS = 10, 5.0
"""For how many times as long as it took to find that nothing that waits may go it is not looked again, and for how many
seconds at most."""
_DELTAS = 10_000
"""How many changes of the books are folded at a time."""
_WORK = {
    "expire": {Work.EXPIRED},
    "try_targets": {Work.AWAITED},
    "release": {Work.DUE},
    "release_waiting": {Work.HELD},
    "advance": {Work.DUE, Work.ORDERED},
    "publish_scheduled": {Work.SCHEDULED},
}
"""What there must be for these steps to be taken."""

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
        trials: TrialStore,
        ordering: OrderingStore,
        sweeping: SweepingStore,
        signals: SignalStore,
        sessions: SessionStore,
        events: EventTeller,
        settings: Settings,
    ) -> None:
        self._transport = transport
        self._taps = Taps(transport, timeout=settings.confirm_timeout)
        self._deliveries = deliveries
        self._expiring = expiring
        self._pausing = pausing
        self._trials = trials
        self._ordering = ordering
        self._sweeping = sweeping
        self._signals = signals
        self._sessions = sessions
        self._settings = settings
        self._outcomes = Streak()
        self._headroom = Headroom(transport, timeout=settings.confirm_timeout)
        self._releases = Releases(deliveries, self._headroom, rescue_after=settings.rescue_after)
        self._finding = Spacing(every=0.0, times=_TIMES, most=_MOST_SECONDS)
        self._unfinished: dict[int, int] = {}
        """How far wide signals were recorded at the last look."""
        self._more_due = False
        self._rescue_from = float("-inf")
        self._expired, self._released, self._scheduled = Rows("expire"), Rows("release"), Rows("publish_scheduled")
        self._rescued: dict[str, Rows] = {}
        tick, counting = _TICK.total_seconds(), _COUNTING.total_seconds()
        step, unhurried = partial(Step, pause=tick), _UNHURRIED.total_seconds()
        self._steps = (
            step("expire", self.expire, full=_LIMIT, every=2 * tick),
            step("try_targets", self.try_targets, every=tick),
            step("release", self.release, full=_LIMIT),
            step("release_waiting", self.release_waiting, full=_LIMIT // 2, every=tick),
            step("advance", self.advance, every=tick),
            step("rescue", self.rescue, full=_LIMIT, every=unhurried),
            step("publish_scheduled", self.publish_scheduled, full=_SIGNALS, every=tick),
            step("forget", self.forget, full=_LIMIT, every=unhurried),
            step("fold", self.fold, full=_DELTAS, every=unhurried),
            step("forget_circuits", self.forget_circuits, every=counting),
            step("find_forsaken", self.find_forsaken, every=_SELDOM.total_seconds()),
            step("resume_recordings", self.resume_recordings, every=_SELDOM.total_seconds()),
            step("forget_pending_records", self.forget_pending_records, every=counting),
            step("forget_sessions", self.forget_sessions, full=_LIMIT, every=_SELDOM.total_seconds()),
            step("tell_events", events.tell, full=_SIGNALS, every=unhurried),
            step("forget_events", events.forget, full=_LIMIT, every=_SELDOM.total_seconds()),
        )

    async def check(self) -> None:
        """Return if what is due can be published, and sweeps have not been failing for a while.

        Raises:
            SignalBrokerError: It cannot, or they have, for this reason.
        """
        self._outcomes.check()
        check_parts(self._transport, [DELIVERIES, *LANES, BROADCAST, ROUTED, BY_NAME])

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until *stopping* is set; a step that fails is repeated after a pause, and holds up no other."""
        self._postpone_rescue()
        while not stopping.is_set():
            if not await self.sweep(stopping):
                pause = _SOON if self._releases.are_short else _TICK
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause.total_seconds()):
                        await stopping.wait()
        await self._taps.close()

    async def sweep(self, stopping: asyncio.Event) -> bool:
        """Take each step that is due; return whether there may be more to do at once."""
        more = False
        work = await self._look()
        for step in self._steps:
            if stopping.is_set():
                return False
            if step.name in _WORK and not step.failing and work.isdisjoint(_WORK[step.name]):
                continue
            try:
                more |= await step.take()
            except (StoreUnavailable, TransportError) as error:
                self._outcomes.note_failure(error)
                log.warning("sweep.postponed", step=step.name, error=str(error))
                if isinstance(error, StoreUnavailable) and not isinstance(error, StoreRefusal | StoreTimeout):
                    self._postpone_rescue()
            except Exception as error:
                self._outcomes.note_failure(error)
                log.exception("sweep.failed", step=step.name)
        failing = [step.failing for step in self._steps]
        if all(failing):
            self._postpone_rescue()
        if not any(failing):
            self._outcomes.note_success()
        return more

    async def _look(self) -> frozenset[Work]:
        """Return what there may be to do: everything, if that cannot be told."""
        try:
            found = await self._sweeping.look()
        except Exception as error:  # noqa: BLE001  (whatever it is, each step finds out for itself)
            log.warning("sweep.failed", step="look", error=str(error))
            return frozenset(Work)
        return found | {Work.DUE} if self._releases.are_short else found

    async def expire(self) -> int:
        """Cancel what is owed of signals that have expired, and publish what that lets go on.

        Return how many deliveries, or `once` subscriptions that they consumed, were looked at.
        """
        return await self._expired.take(self._expire, _LIMIT)

    async def _expire(self, limit: int, offset: int) -> int:
        expired = await self._expiring.sweep(
            limit=limit, offset=offset, overdue_too=self._rescues, rescue_after=self._settings.rescue_after
        )
        if expired.cancelled:
            metrics.EXPIRED.inc(expired.cancelled)
            log.info("deliveries.expired", deliveries=expired.cancelled)
        await self._publish(expired.due_attempts)
        return max(expired.looked, await self._expiring.free(limit=_LIMIT))

    async def release(self) -> int:
        """Publish parked deliveries whose pause is over, as far as there is room.

        Return how many, or that many as one sweep takes if more may follow.
        """
        released = await self._released.take(self._release, _LIMIT)
        return _LIMIT if self._more_due else released

    async def _release(self, limit: int, offset: int) -> int:
        due_attempts, self._more_due = await self._releases.release(limit=limit, offset=offset)
        await self._publish(due_attempts)
        return len(due_attempts)

    async def release_waiting(self) -> int:
        """Publish waiting deliveries that may go, and schedule or end the others; return how many these are.

        That none may go, as very many are paused for instance, is not found out again and again.
        """
        if not self._finding.is_due:
            return 0
        with self._finding.looking():
            found = await self._pausing.find()
        if found:
            self._finding.hurry()
        limits = await self._headroom.divide(dict.fromkeys(found, _LIMIT), found, most=_LIMIT)
        swept = await self._pausing.sweep(limits, rescue_after=self._settings.rescue_after)
        self._headroom.note(due.queue for due in swept.due_attempts)
        await self._publish(swept.due_attempts)
        return swept.done

    async def try_targets(self) -> int:
        """Let a delivery go to each target that may be tried again, and the others once it is up; return how many."""
        return await self._trials.sweep()

    async def find_forsaken(self) -> int:
        """Let deliveries go that wait for what is not there any more; return for how many subscriptions."""
        return await self._trials.find_forsaken()

    async def advance(self) -> int:
        """Publish deliveries that are next in their groups and stand still, if there is room; return how many."""
        room = await self._headroom.free()
        if not room:
            return 0
        due_attempts = await self._ordering.sweep(most=room, rescue_after=self._settings.rescue_after)
        self._headroom.note(due.queue for due in due_attempts)
        await self._publish(due_attempts)
        return len(due_attempts)

    async def forget(self) -> int:
        """Forget a part of the old idempotency keys; return how many."""
        return await self._signals.forget_idempotency_keys(_LIMIT)

    async def forget_circuits(self) -> int:
        """Forget what circuits and concurrency slots leave behind."""
        await self._pausing.forget()
        return 0

    async def forget_pending_records(self) -> int:
        """Forget what recorded signals leave behind."""
        await self._ordering.forget_pending_records()
        return 0

    async def forget_sessions(self) -> int:
        """Forget a part of the sessions that have ended; return how many."""
        return await self._sessions.forget(_LIMIT)

    async def fold(self) -> int:
        """Fold changes of the books; return how many."""
        return await self._deliveries.fold_ledger(limit=_DELTAS)

    async def rescue(self) -> int:
        """Publish pending deliveries again whose message must be lost; return how many, of one queue at most.

        The message of an overdue delivery may just as well wait in a long queue, or in that of an app without workers.
        Some messages must be lost only if a queue holds fewer messages than it has overdue deliveries. After PostgreSQL
        was away, deliverers first get the time to store the outcomes that they kept.
        """
        if not self._rescues:
            return 0
        queued = {app: await self._queued(app) for app in await self._deliveries.count_overdue(limit=_COUNTED)}
        if not queued:
            return 0
        # Counted after the messages: what is delivered meanwhile would seem to have lost its message otherwise.
        overdue = await self._deliveries.count_overdue(limit=_COUNTED)
        rescued, refusal = 0, None
        for app, depth in queued.items():
            if overdue.get(app, 0) > depth:
                try:
                    rescued = max(rescued, await self._rescue(app))
                except (DataError, StoreRefusal) as error:
                    refusal = error
        if refusal is not None:
            raise refusal
        return rescued

    @property
    def _rescues(self) -> bool:
        """Whether an attempt whose end is overdue may be taken for abandoned."""
        return asyncio.get_running_loop().time() >= self._rescue_from

    def _postpone_rescue(self) -> None:
        # A deliverer may be waiting for an answer of the old connection, and then pauses.
        self._rescue_from = asyncio.get_running_loop().time() + 2 * self._settings.store_timeout.total_seconds()

    async def _rescue(self, app: str) -> int:
        rows = self._rescued.setdefault(app, Rows("rescue"))
        return await rows.take(partial(self._rescue_some, app), _LIMIT)

    async def _rescue_some(self, app: str, limit: int, offset: int) -> int:
        rescued = await self._deliveries.rescue(
            app, limit=limit, offset=offset, rescue_after=self._settings.rescue_after
        )
        if not rescued.due_attempts:
            return 0
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
        return await self._scheduled.take(self._publish_scheduled, _SIGNALS)

    async def _publish_scheduled(self, limit: int, offset: int) -> int:
        due, expired = await self._signals.take_scheduled(
            limit=limit, offset=offset, rescue_after=self._settings.rescue_after
        )
        failures = await asyncio.gather(*(self._taps.publish(signal) for signal in due), return_exceptions=True)
        published = [signal.id for signal, failure in zip(due, failures, strict=True) if failure is None]
        if published or expired:
            await self._signals.end_schedule([*published, *expired])
        for signal_id in published:
            log.info("signal.released", signal_id=signal_id)
        for failure in filter(None, failures):
            raise failure
        return len(due) + len(expired)

    async def resume_recordings(self) -> int:
        """Publish wide signals again whose recordings have stood still since the last look; return how many.

        Their messages are gone: a recorder of an earlier version took them for recorded, or they are in the dead queue.
        """
        found = await self._signals.find_unfinished(limit=_SIGNALS)
        standing = [signal for signal, after_id in found if self._unfinished.get(signal.id) == after_id]
        self._unfinished = {signal.id: after_id for signal, after_id in found}
        for signal in standing:
            await self._transport.publish(
                signal_message(signal), exchange="", routing_key=RECORD, timeout=self._settings.confirm_timeout
            )
            del self._unfinished[signal.id]  # it has until the look after the next one
            log.warning("recording.resumed", signal_id=signal.id)
        return len(standing)

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
