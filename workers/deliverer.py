"""The deliverer: makes the attempts that are due, and stores what they make of the deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain, repeat

import structlog
from cachetools import TTLCache

from broker import metrics
from broker.admission import Deferred, Denied
from broker.circuits import Phase
from broker.deliveries import DELETED, GONE, DueAttempt, Outcome, Reason
from broker.errors import StoreRefusal, StoreUnavailable
from broker.messages import Undecodable, decode_due_attempt
from broker.metrics import Repeat
from broker.settings import Settings
from broker.store.deliveries.attempts import SMALL, Claimed, Ended, Oversized, UnderWay
from broker.store.deliveries.claiming import Answer, AttemptStore
from broker.store.deliveries.ending import Effects
from broker.store.deliveries.surplus import Route, SurplusStore
from broker.store.postgres.database import DataError
from broker.streaks import Streak
from broker.targets import Kind
from broker.topology import ATTEMPT, LANES, SLOW_ATTEMPT
from broker.transport import Received, Settlement, Transport
from workers.caller import Caller
from workers.calls import Calls
from workers.consumer import Consumer, check_consumers
from workers.couriers import Courier
from workers.dispatch import dispatch
from workers.exclusion import Exclusion
from workers.keeping import Kept
from workers.lanes import FastLane
from workers.places import Place, Places, Turn
from workers.recalling import Recall
from workers.routes import Routes
from workers.store_access import StoreAccess

_PAUSES = (0.1, 0.2, 0.5, 1.0)
"""Seconds between tries to record an outcome; the last one repeats. `Scheduler.rescue` waits for longer than that."""
_NO_ANSWER = frozenset({Outcome.TIMED_OUT, Outcome.UNREACHABLE})
_MOST_UNSURE, _UNSURE_SECONDS = 10_000, 600.0
"""More than a deliverer holds, and longer than it holds them."""
_LOOK_AGAIN = 0.5
"""Seconds between looks at an attempt that another deliverer is making."""

log = structlog.get_logger()


class Deliverer:
    """Makes many attempts at a time: each is claimed, made and stored, and only then its message is acked.

    Attempts of slow subscriptions are made in a lane of their own. In each lane subscriptions, hosts and tenants share
    the places; deliveries beyond their share are put off until there are places for them (see `workers.places`). A
    message that RabbitMQ hands out again after a lost link waits while its attempt is under way, here or at another
    deliverer. An outcome is kept until it is stored, however long PostgreSQL is away or refuses it; the receiver is not
    called again for it.

    Args:
        transport: Where the queues are.
        attempts: Where attempts are claimed and ended.
        surplus: Where deliveries are put off.
        couriers: What delivers, by the kind of target.
        settings: Deadlines.
        queues: The queues whose attempts it makes; those too slow for `ATTEMPT` are moved to `SLOW_ATTEMPT`.
        concurrency: How many attempts at a time, of each queue.
        waiting: How many more messages of each queue may wait here for their turns.
    """

    name = "deliverer"

    def __init__(
        self,
        transport: Transport,
        attempts: AttemptStore,
        surplus: SurplusStore,
        couriers: Mapping[Kind, Courier],
        settings: Settings,
        *,
        queues: Sequence[str] = LANES,
        concurrency: int,
        waiting: int,
    ) -> None:
        self._transport = transport
        self._attempts = attempts
        self._surplus = surplus
        self._settings = settings
        self._queues = queues
        self._window = concurrency + waiting
        self._fast_lane = FastLane(concurrency)
        self._routes = Routes(surplus)
        self._caller = Caller(attempts, couriers, calls=Calls(), timeout=settings.webhook_timeout)
        self._places = Places(
            queues,
            concurrency,
            waiting=waiting,
            patience=settings.rescue_after.total_seconds() / 3,
            slow_lane=SLOW_ATTEMPT if SLOW_ATTEMPT in queues else None,
            is_slow=self._fast_lane.refuses,
        )
        self._under_way = Exclusion()
        self._unsure: TTLCache[str, None] = TTLCache(_MOST_UNSURE, _UNSURE_SECONDS)
        """Deliveries whose attempts may have begun: the store did not say so, and may have noted it."""
        self._kept = Kept(self._store)
        self._access = StoreAccess(attempts.rehearse, surplus.rehearse)
        self._outcomes = Streak()

    async def check(self) -> None:
        """Return if attempts can be begun and ended now, as far as is known.

        Raises:
            SignalBrokerError: They cannot, for this reason.
        """
        await self._access.rehearse()
        self._outcomes.check()
        check_consumers(self._transport, self._queues)

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until *stopping* is set."""
        recall = Recall(
            self._transport,
            self._surplus,
            places=self._places,
            routes=self._routes,
            fast_lane=self._fast_lane,
            queues=self._queues,
            settings=self._settings,
        )
        async with self._attempts, self._surplus, self._kept, asyncio.TaskGroup() as group:
            group.create_task(recall.run(stopping))
            for queue in self._queues:
                consumer = Consumer(
                    self._transport,
                    queue,
                    partial(self.handle, queue),
                    access=self._access,
                    outcomes=self._outcomes,
                    concurrency=self._window,
                )
                group.create_task(consumer.run(stopping, drain=self._settings.drain_timeout))

    async def handle(self, queue: str, messages: Sequence[Received]) -> Sequence[Settlement]:
        """Make the attempt that each of *messages* of *queue* asks for, unless it is out of date or may not go now."""
        return [await self._handle(queue, message) for message in messages]

    async def _handle(self, queue: str, message: Received) -> Settlement:
        try:
            due = decode_due_attempt(message)
        except Undecodable as error:
            log.warning("message.rejected", queue=queue, error=str(error))
            return Settlement.REJECT
        async with self._under_way.hold(due.delivery_id):
            if due.delivery_id in self._kept:
                return Settlement.ACK  # the receiver has answered; if that cannot be stored, it is rescued again
            # A redelivered message is not moved: as a new one it could not begin its attempt again.
            if queue == ATTEMPT and self._fast_lane.refuses(due.subscription_id) and not message.redelivered:
                return await self._move(due)
            while True:
                settlement = await self._deliver_in_turn(queue, due, redelivered=message.redelivered)
                if settlement is not None:
                    return settlement
                await asyncio.sleep(_LOOK_AGAIN)

    async def _deliver_in_turn(self, queue: str, due: DueAttempt, *, redelivered: bool) -> Settlement | None:
        """Take a place, and make the attempt; None: another deliverer is making it."""
        route = await self._routes.of(due.subscription_id)
        await self._attempts.await_reservation(due)
        place = await self._places.take(queue, route, delivery_id=due.delivery_id)
        match place:
            case Turn.STOPPED:
                return Settlement.RETURN
            case Turn.SLOW if not redelivered:
                return await self._move(due)
            case Turn():
                await self._put_off(due, redelivered=redelivered)
                return Settlement.ACK
        ended = None
        async with AsyncExitStack() as until_stored:
            try:
                with self._fast_lane.occupy(due.subscription_id) if queue == ATTEMPT else nullcontext():
                    ended = await self._try(place, due, redelivered=redelivered, until_stored=until_stored)
            finally:  # not only once the outcome is stored, which holds up no receiver
                if isinstance(ended, Ended):
                    answered = ended.result.outcome not in _NO_ANSWER
                    self._places.give_back(place, called=ended.duration.total_seconds(), answered=answered)
                else:
                    self._places.give_back(place)
            if isinstance(ended, Ended):
                await self._finish(ended)
        if isinstance(ended, UnderWay):
            return Settlement.RETURN if self._places.stopped else None
        return Settlement.ACK

    async def _put_off(self, due: DueAttempt, *, redelivered: bool = False) -> None:
        await self._surplus.put_off(due, redelivered=redelivered)
        _log_not_admitted(due, Deferred(Reason.SHARE))

    async def _move(self, due: DueAttempt) -> Settlement:
        """Move the attempt to the slow lane."""
        await self._dispatch([replace(due, queue=SLOW_ATTEMPT)])
        metrics.MOVED.inc()
        return Settlement.ACK

    async def _try(
        self, place: Place, due: DueAttempt, *, redelivered: bool, until_stored: AsyncExitStack, room: int = SMALL
    ) -> Ended | UnderWay | None:
        """Make the attempt, if it may be made, and return how it ended; that is not stored yet."""
        answer: Ended | Answer = await self._claim(due, redelivered=redelivered, room=room)
        if isinstance(answer, Claimed) and answer.subscription.until is None:
            answer = await self._make(answer, place.route, until_stored)
        match answer:
            case Oversized(size):
                try:
                    await self._places.load(place, size)
                except TimeoutError:
                    await self._put_off(due, redelivered=redelivered)
                else:
                    return await self._try(place, due, redelivered=redelivered, until_stored=until_stored, room=size)
            case Ended() | UnderWay():
                return answer
            case None:
                log.debug("attempt.outdated", delivery_id=due.delivery_id, attempt=due.attempt)
            case Deferred() | Denied():
                _log_not_admitted(due, answer)
            case Claimed():  # of a subscription that was deleted
                await self._attempts.cancel(due)
                log.info("delivery.cancelled", delivery_id=due.delivery_id, reason=DELETED)
        return None

    async def _claim(self, due: DueAttempt, *, redelivered: bool, room: int) -> Answer:
        """Begin the attempt, again if that was tried before and the store did not say what came of it."""
        again = redelivered or due.delivery_id in self._unsure
        try:
            answer = await self._attempts.claim(due, redelivered=again, room=room)
        except StoreUnavailable:
            self._unsure[due.delivery_id] = None
            raise
        self._unsure.pop(due.delivery_id, None)
        return answer

    async def _make(self, claimed: Claimed, route: Route, until_stored: AsyncExitStack) -> Ended | Answer:
        self._routes.note(claimed.subscription)
        if claimed.again:
            metrics.REPEATS.labels(Repeat.REDELIVERED).inc()
        try:
            return await self._caller.make(claimed, route, until_stored=until_stored)
        except TimeoutError:
            await self._surplus.put_off(claimed.due)
            return Deferred(Reason.SHARE)

    async def _finish(self, ended: Ended) -> None:
        self._fast_lane.note(ended.due.subscription_id, ended.duration)
        await self._store_in_time(ended)

    async def _store(self, ended: Ended) -> None:
        """Store how an attempt ended, and let go on what waited for that."""
        effects = await self._attempts.finish(ended)
        _log_effects(ended, effects)
        await self._dispatch(effects.due_attempts)

    async def _store_in_time(self, ended: Ended) -> None:
        """Store how an attempt ended as soon as PostgreSQL can; if it refuses that, keep it until it does not."""
        for tried, pause in enumerate(chain(_PAUSES, repeat(_PAUSES[-1]))):
            try:
                return await self._store(ended)
            except (StoreUnavailable, DataError) as error:
                refused = isinstance(error, StoreRefusal | DataError)
                self._outcomes.note_failure(error, of=ended.due.delivery_id if refused else None)
                if refused and tried >= len(_PAUSES) and self._kept.keep(ended):
                    return None
                if not tried:
                    log.warning("outcome.kept", delivery_id=ended.due.delivery_id, error=str(error))
                await asyncio.sleep(pause)
        raise AssertionError("the pauses have no end")

    async def _dispatch(self, due_attempts: Sequence[DueAttempt]) -> None:
        await dispatch(self._transport, due_attempts, timeout=self._settings.confirm_timeout)


def _log_not_admitted(due: DueAttempt, decision: Deferred | Denied) -> None:
    """Log and count a delivery that was not admitted."""
    match decision:
        case Deferred(reason=reason):
            metrics.HELD_BACK.labels(reason.value).inc()
            log.debug("delivery.deferred", delivery_id=due.delivery_id, reason=reason.value)
        case Denied(reason=clause):
            metrics.HELD_BACK.labels("disabled").inc()
            log.debug("delivery.denied", delivery_id=due.delivery_id, reason=clause)


def _log_effects(ended: Ended, effects: Effects) -> None:
    """Log and count side effects: a disabled subscription, a circuit that opened or closed."""
    if effects.disabled:
        metrics.DISABLED.inc()
        log.warning("subscription.disabled", subscription_id=ended.due.subscription_id, reason=GONE)
    if effects.circuit is Phase.OPEN:
        metrics.CIRCUITS_OPENED.inc()
        log.warning("circuit.opened", subscription_id=ended.due.subscription_id, error=ended.result.error)
    elif effects.circuit is Phase.CLOSED:
        log.info("circuit.closed", subscription_id=ended.due.subscription_id)
