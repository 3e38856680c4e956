"""The deliverer: makes the attempts that are due, and settles what they make of the deliveries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from broker import metrics
from broker.admission import Refusal
from broker.circuits import Phase
from broker.coalescing import Coalescer
from broker.deliveries import (
    DELETED,
    GONE,
    VERDICTS,
    DeliveryState,
    DueAttempt,
    Outcome,
    Reason,
    Result,
    Step,
    Verdict,
    next_pause,
)
from broker.messages import Undecodable, read_due
from broker.settings import Settings
from broker.store.deliveries.admission import AdmissionStore, Finished, concerns_gate
from broker.store.deliveries.deliveries import Claimed, DeliveryStore, Ended
from broker.targets import Kind
from broker.topology import ATTEMPT, SLOW
from broker.transport import Received, Settlement, Transport
from workers.consumer import Consumer
from workers.couriers import Courier
from workers.dispatch import dispatch
from workers.lanes import FastLane

log = structlog.get_logger()


class Deliverer:
    """Makes many attempts at a time; claims and outcomes of attempts that coincide share their round trips.

    An attempt is claimed, made, recorded, and only then its message is acked. What its subscription's gate has a say in
    (a limit, a pause, a target that failed) takes a round trip of its own, so that nobody else waits for it; and what
    is slow is made in a lane of its own.

    Args:
        transport: Where the queues are.
        deliveries: What claims and ends attempts.
        gates: What decides on those that may have to wait.
        couriers: What makes them, by the kind of their targets.
        settings: Deadlines.
        queues: Which attempts it makes: those that wait there. What is too slow for `ATTEMPT` is moved to `SLOW`.
        concurrency: How many attempts at a time, of each queue.
    """

    name = "deliverer"

    def __init__(
        self,
        transport: Transport,
        deliveries: DeliveryStore,
        gates: AdmissionStore,
        couriers: Mapping[Kind, Courier],
        settings: Settings,
        *,
        queues: Sequence[str] = (ATTEMPT, SLOW),
        concurrency: int,
    ) -> None:
        self._transport = transport
        self._deliveries = deliveries
        self._admission = gates
        self._couriers = couriers
        self._settings = settings
        self._queues = queues
        self._concurrency = concurrency
        self._claims: Coalescer[tuple[DueAttempt, bool], Claimed | None] = Coalescer(self._claim)
        self._admissions: Coalescer[tuple[DueAttempt, bool], Claimed | Refusal | None] = Coalescer(self._admit)
        self._ends: Coalescer[Ended, None] = Coalescer(deliveries.finish)
        self._gated_ends: Coalescer[Ended, Finished] = Coalescer(self._finish)
        self._fast_lane = FastLane(concurrency)

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until *stopping* is set."""
        async with self._claims, self._admissions, self._ends, self._gated_ends, asyncio.TaskGroup() as group:
            for queue in self._queues:
                consumer = Consumer(self._transport, queue, partial(self.handle, queue), concurrency=self._concurrency)
                group.create_task(consumer.run(stopping, drain=self._settings.drain_timeout))

    async def handle(self, queue: str, messages: Sequence[Received]) -> Sequence[Settlement]:
        """Make the attempt that each of *messages* of *queue* asks for, unless it is out of date or may not go now."""
        return [await self._handle(queue, message) for message in messages]

    async def _handle(self, queue: str, message: Received) -> Settlement:
        try:
            due = read_due(message)
        except Undecodable as error:
            log.warning("message.rejected", queue=queue, error=str(error))
            return Settlement.REJECT
        if queue != ATTEMPT:
            await self._deliver(due, again=message.redelivered)
        # A message that was handed out before is not moved: as a new one it could not begin its attempt again.
        elif self._fast_lane.refuses(due.subscription_id) and not message.redelivered:
            await self._dispatch([replace(due, queue=SLOW)])
            metrics.MOVED.inc()
        else:
            with self._fast_lane.place(due.subscription_id):
                await self._deliver(due, again=message.redelivered)
        return Settlement.ACK

    async def _deliver(self, due: DueAttempt, *, again: bool) -> None:
        claimed = await self._claims.submit((due, again)) or await self._admissions.submit((due, again))
        match claimed:
            case None:
                log.debug("attempt.outdated", delivery_id=due.delivery_id, attempt=due.attempt)
            case Refusal():
                _tell_refused(due, claimed)
            case Claimed(subscription=subscription) if subscription.until is not None:
                await self._deliveries.cancel(due)
                log.info("delivery.cancelled", delivery_id=due.delivery_id, reason=DELETED)
            case Claimed():
                await self._end(await self._attempt(claimed))

    async def _claim(self, batch: list[tuple[DueAttempt, bool]]) -> list[Claimed | None]:
        return await self._deliveries.claim(
            batch, timeout=self._settings.webhook_timeout, grace=self._settings.rescue_after
        )

    async def _admit(self, batch: list[tuple[DueAttempt, bool]]) -> list[Claimed | Refusal | None]:
        return await self._admission.admit(
            batch, timeout=self._settings.webhook_timeout, grace=self._settings.rescue_after
        )

    async def _end(self, ended: Ended) -> None:
        self._fast_lane.note(ended.due.subscription_id, ended.duration)
        if not concerns_gate(ended):
            await self._ends.submit(ended)
            return
        finished = await self._gated_ends.submit(ended)
        _tell_finished(ended, finished)
        await self._dispatch(finished.due_attempts)

    async def _finish(self, batch: list[Ended]) -> list[Finished]:
        return await self._admission.finish(batch, rescue_after=self._settings.rescue_after)

    async def _dispatch(self, due_attempts: Sequence[DueAttempt]) -> None:
        await dispatch(self._transport, due_attempts, timeout=self._settings.confirm_timeout)

    async def _attempt(self, claimed: Claimed) -> Ended:
        spec, started_at = claimed.subscription.spec, datetime.now(UTC)
        steps = [await self._step(claimed)]
        while steps[-1].result.outcome is Outcome.SUCCEEDED and claimed.step + 1 < len(spec.targets):
            claimed = replace(claimed, step=claimed.step + 1)
            steps.append(await self._step(claimed))
        result = steps[-1].result
        state, pause, reason = _judge(claimed, result)
        ended = Ended(
            due=claimed.due,
            result=result,
            state=state,
            pause=pause,
            started_at=started_at,
            duration=sum((step.duration for step in steps), timedelta()),
            reason=reason,
            address=steps[-1].address,
            in_line=claimed.in_line,
            passed=claimed.passed,
            steps=tuple(steps) if spec.in_steps else (),
        )
        _tell(claimed, ended)
        return ended

    async def _step(self, claimed: Claimed) -> Step:
        target, start = claimed.target, time.perf_counter()
        try:
            result = await self._couriers[target.kind].deliver(
                claimed, timeout=claimed.subscription.spec.timeout or self._settings.webhook_timeout
            )
        except Exception as error:
            log.exception("attempt.failed", delivery_id=claimed.due.delivery_id)
            result = Result(outcome=Outcome.FAILED, error=f"{type(error).__name__}: {error}")
        return Step(
            number=claimed.step + 1,
            address=target.circuit,
            result=result,
            duration=timedelta(seconds=time.perf_counter() - start),
        )


def _judge(claimed: Claimed, result: Result) -> tuple[DeliveryState, timedelta | None, str | None]:
    """Return what *result* makes of the delivery, how long it is parked, if it is, and why it is not delivered."""
    match VERDICTS[result.outcome]:
        case Verdict.DELIVERED:
            return DeliveryState.DELIVERED, None, None
        case Verdict.GIVEN_UP:
            return DeliveryState.DEAD, None, f"given up: {result.error}"
        case Verdict.DISABLED:
            return DeliveryState.DEAD, None, GONE
    attempt = claimed.due.attempt - claimed.redriven
    pause = next_pause(claimed.subscription.spec.schedule, attempt, result)
    if pause is None:
        return DeliveryState.DEAD, None, f"the last attempt failed: {result.error or result.outcome.value}"
    return DeliveryState.PARKED, pause, Reason.RETRY


def _tell_refused(due: DueAttempt, refusal: Refusal) -> None:
    metrics.HELD_BACK.labels("disabled" if refusal.final else str(refusal.reason)).inc()
    log.debug(
        "delivery.held_back",
        delivery_id=due.delivery_id,
        reason=str(refusal.reason),
        due_at=None if refusal.due_at is None else refusal.due_at.isoformat(),
    )


def _tell_finished(ended: Ended, finished: Finished) -> None:
    """Write the lines that an attempt leaves that was of more consequence, and count it."""
    if finished.disabled:
        metrics.DISABLED.inc()
        log.warning("subscription.disabled", subscription_id=ended.due.subscription_id, reason=GONE)
    if finished.circuit is Phase.OPEN:
        metrics.CIRCUITS_OPENED.inc()
        log.warning("circuit.opened", subscription_id=ended.due.subscription_id, error=ended.result.error)
    elif finished.circuit is Phase.CLOSED:
        log.info("circuit.closed", subscription_id=ended.due.subscription_id)


def _tell(claimed: Claimed, ended: Ended) -> None:
    """Write the one line that an attempt leaves in the log, and count it."""
    kind = claimed.target.kind.value
    metrics.ATTEMPTS.labels(kind, ended.result.outcome.value).inc()
    metrics.ATTEMPT_SECONDS.labels(kind).observe(ended.duration.total_seconds())
    match ended.state:
        case DeliveryState.DELIVERED:
            metrics.DELIVERED.labels(kind).inc()
            lag = ended.started_at + ended.duration - claimed.signal.created_at
            metrics.DELIVERY_LAG.labels(kind).observe(max(0.0, lag.total_seconds()))
        case DeliveryState.PARKED:
            metrics.PARKED.labels(kind).inc()
        case _:
            metrics.DEAD.labels(kind).inc()
    log.info(
        "delivery.attempted",
        delivery_id=ended.due.delivery_id,
        signal_id=ended.due.signal_id,
        subscription_id=ended.due.subscription_id,
        attempt=ended.due.attempt,
        kind=kind,
        outcome=ended.result.outcome.value,
        status=ended.result.status,
        error=ended.result.error,
        duration=round(ended.duration.total_seconds(), 6),
        state=ended.state.value,
        pause=None if ended.pause is None else round(ended.pause.total_seconds(), 3),
    )
