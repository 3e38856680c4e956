"""The deliverer: makes the attempts that are due, and stores what they make of the deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import structlog
from cachetools import TTLCache

from broker import metrics
from broker.admission import Deferred, Denied
from broker.deliveries import DELETED, DueAttempt, Reason
from broker.errors import StoreUnavailable
from broker.messages import Undecodable, decode_due_attempt
from broker.metrics import Repeat
from broker.settings import Settings
from broker.store.deliveries.attempts import GONE_AFTER, SMALL, Claimed, Ended, Oversized, UnderWay
from broker.store.deliveries.claiming import Answer, AttemptStore
from broker.store.deliveries.surplus import Route, SurplusStore
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
from workers.lanes import FastLane
from workers.outcomes import Outcomes
from workers.places import Place, Places, Turn
from workers.recalling import Recall
from workers.routes import Routes
from workers.runs import Runs
from workers.store_access import StoreAccess

_MOST_UNSURE, _UNSURE_SECONDS = 10_000, 600.0
"""More than a deliverer holds, and longer than it holds them."""
_SURELY_GONE = 2 * GONE_AFTER.total_seconds()
"""After how many seconds a deliverer that was lost is known to be gone."""
_LOOK_AGAIN = 0.5
"""Seconds between looks at an attempt that another deliverer is making."""

log = structlog.get_logger()


class Deliverer:
    """Makes many attempts at a time: each is claimed, made and stored, and only then its message is acked.

    In an ordering group an attempt hands on to the next one, without a message of its own (see `workers.runs`). The
    message that a lost deliverer had then leads to the attempt that it was handed on to.

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
        self._access = StoreAccess(attempts.rehearse, surplus.rehearse)
        self._streak = Streak()
        self._outcomes = Outcomes(attempts, self._dispatch, self._streak)
        self._runs = Runs(attempts, self._places, self._fast_lane, self._outcomes, self._under_way)

    async def check(self) -> None:
        """Return if attempts can be begun and ended now, as far as is known.

        Raises:
            SignalBrokerError: They cannot, for this reason.
        """
        await self._access.rehearse()
        self._streak.check()
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
        async with self._attempts, self._surplus, self._outcomes.kept, asyncio.TaskGroup() as group:
            group.create_task(recall.run(stopping))
            for queue in self._queues:
                consumer = Consumer(
                    self._transport,
                    queue,
                    partial(self.handle, queue),
                    access=self._access,
                    outcomes=self._streak,
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
        try:
            async with self._under_way.hold(due.delivery_id):
                again = message.redelivered or due.delivery_id in self._unsure
                if due.delivery_id in self._outcomes.kept:
                    return Settlement.ACK  # the receiver has answered; if that cannot be stored, it is rescued again
                # A redelivered message is not moved: as a new one it could not begin its attempt again.
                if queue == ATTEMPT and self._fast_lane.refuses(due.subscription_id) and not message.redelivered:
                    return await self._move(due)
                settlement = await self._deliver(queue, due, redelivered=again)
            if settlement is None:
                return await self._deliver_heir(queue, due) if again else Settlement.ACK
        except StoreUnavailable:
            self._unsure[due.delivery_id] = None
            raise
        self._unsure.pop(due.delivery_id, None)
        return settlement

    async def _deliver(self, queue: str, due: DueAttempt, *, redelivered: bool) -> Settlement | None:
        """Make the attempt, if it may be made, and the attempts that follow in its run; None: it is out of date."""
        while True:
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
            answer = await self._runs.run(
                queue,
                place,
                partial(self._try, due, redelivered=redelivered),
                follow=lambda claimed: partial(self._carry_out, claimed, claimed.due),
                claim=lambda claimed: partial(self._try, claimed.due, redelivered=True),
                held=due.delivery_id,
            )
            if not isinstance(answer, UnderWay):
                return None if answer is None else Settlement.ACK
            if self._places.stopped:
                return Settlement.RETURN
            await asyncio.sleep(_LOOK_AGAIN)

    async def _deliver_heir(self, queue: str, due: DueAttempt) -> Settlement:
        """Make the attempt that a delivery, which has ended, was handed on to, if the deliverer of that is lost."""
        clock = asyncio.get_running_loop().time
        end = clock() + _SURELY_GONE
        while clock() < end and (heir := await self._attempts.find_heir(due)) is not None:
            async with self._under_way.hold(heir.delivery_id):
                if heir.delivery_id in self._outcomes.kept:
                    return Settlement.ACK
                settlement = await self._deliver(queue, heir, redelivered=True)
            if settlement is not None:
                return settlement
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
        self, due: DueAttempt, place: Place, until_stored: AsyncExitStack, *, redelivered: bool, room: int = SMALL
    ) -> Ended | Answer:
        """Claim the attempt and make it, if it may be made; return how it ended (which is not stored), or why not."""
        answer = await self._attempts.claim(due, redelivered=redelivered, room=room)
        if isinstance(answer, Oversized):
            try:
                await self._places.load(place, answer.size)
            except TimeoutError:
                await self._put_off(due, redelivered=redelivered)
                return answer
            return await self._try(due, place, until_stored, redelivered=redelivered, room=answer.size)
        return await self._carry_out(answer, due, place, until_stored)

    async def _carry_out(
        self, answer: Answer, due: DueAttempt, place: Place, until_stored: AsyncExitStack
    ) -> Ended | Answer:
        """Make the attempt if it was claimed; return how it ended, or why it was not made."""
        made: Ended | Answer = answer
        if isinstance(answer, Claimed) and answer.subscription.until is None:
            made = await self._make(answer, place.route, until_stored)
        match made:
            case None:
                log.debug("attempt.outdated", delivery_id=due.delivery_id, attempt=due.attempt)
            case Deferred() | Denied():
                _log_not_admitted(due, made)
            case Claimed():  # of a subscription that was deleted
                await self._attempts.cancel(due)
                log.info("delivery.cancelled", delivery_id=due.delivery_id, reason=DELETED)
        return made

    async def _make(self, claimed: Claimed, route: Route, until_stored: AsyncExitStack) -> Ended | Answer:
        self._routes.note(claimed.subscription)
        if claimed.again:
            metrics.REPEATS.labels(Repeat.REDELIVERED).inc()
        try:
            return await self._caller.make(claimed, route, until_stored=until_stored)
        except TimeoutError:
            await self._surplus.put_off(claimed.due)
            return Deferred(Reason.SHARE)

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
