"""The deliverer: makes the attempts that are due, and settles what they make of the deliveries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from broker import metrics
from broker.coalescing import Coalescer
from broker.deliveries import Due, Outcome, Result, State, next_pause
from broker.messages import Undecodable, read_due
from broker.settings import Settings
from broker.store.deliveries import Claimed, DeliveryStore, Ended
from broker.subscriptions import Kind
from broker.topology import ATTEMPT
from broker.transport import Received, Settlement, Transport
from workers.consumer import Consumer
from workers.targets import QueueTarget, Target, WebhookTarget

log = structlog.get_logger()


class Deliverer:
    """Makes many attempts at a time; claims and outcomes of attempts that coincide share their round trips.

    An attempt is claimed, made, recorded, and only then its message is acked.
    """

    name = "deliverer"

    def __init__(
        self,
        transport: Transport,
        deliveries: DeliveryStore,
        webhooks: WebhookTarget,
        settings: Settings,
    ) -> None:
        self._transport = transport
        self._deliveries = deliveries
        self._targets: dict[Kind, Target] = {Kind.WEBHOOK: webhooks, Kind.QUEUE: QueueTarget(transport)}
        self._settings = settings
        self._claims: Coalescer[tuple[Due, bool], Claimed | None] = Coalescer(self._claim)
        self._ends: Coalescer[Ended, None] = Coalescer(deliveries.finish)

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until *stopping* is set."""
        consumer = Consumer(self._transport, ATTEMPT, self.handle, concurrency=self._settings.webhook_concurrency)
        async with self._claims, self._ends:
            await consumer.run(stopping, drain=self._settings.drain_timeout)

    async def handle(self, messages: Sequence[Received]) -> Sequence[Settlement]:
        """Make the attempt that each of *messages* asks for, unless it is out of date."""
        return [await self._handle(message) for message in messages]

    async def _handle(self, message: Received) -> Settlement:
        try:
            due = read_due(message)
        except Undecodable as error:
            log.warning("message.rejected", queue=ATTEMPT, error=str(error))
            return Settlement.REJECT
        claimed = await self._claims.submit((due, message.redelivered))
        if claimed is None:
            log.debug("attempt.outdated", delivery_id=due.delivery_id, attempt=due.attempt)
        elif claimed.subscription.until is not None:
            await self._deliveries.cancel(due)
            log.info("delivery.cancelled", delivery_id=due.delivery_id, reason="the subscription was deleted")
        else:
            await self._ends.submit(await self._attempt(claimed))
        return Settlement.ACK

    async def _claim(self, batch: list[tuple[Due, bool]]) -> list[Claimed | None]:
        return await self._deliveries.claim(
            batch, timeout=self._settings.webhook_timeout, grace=self._settings.republish_after
        )

    async def _attempt(self, claimed: Claimed) -> Ended:
        terms = claimed.subscription.terms
        started_at, start = datetime.now(UTC), time.perf_counter()
        try:
            result = await self._targets[terms.target.kind].deliver(
                claimed, timeout=terms.timeout or self._settings.webhook_timeout
            )
        except Exception as error:
            log.exception("attempt.failed", delivery_id=claimed.due.delivery_id)
            result = Result(outcome=Outcome.FAILED, error=f"{type(error).__name__}: {error}")
        duration = timedelta(seconds=time.perf_counter() - start)
        state, pause = _judge(claimed, result)
        ended = Ended(
            due=claimed.due, result=result, state=state, pause=pause, started_at=started_at, duration=duration
        )
        _tell(claimed, ended)
        return ended


def _judge(claimed: Claimed, result: Result) -> tuple[State, timedelta | None]:
    """Return what *result* makes of the delivery, and how long it is parked, if it is."""
    if result.outcome is Outcome.SUCCEEDED:
        return State.DELIVERED, None
    if result.outcome is Outcome.GONE:
        return State.DEAD, None
    pause = next_pause(claimed.subscription.terms.schedule, claimed.due.attempt, result)
    return (State.DEAD, None) if pause is None else (State.PARKED, pause)


def _tell(claimed: Claimed, ended: Ended) -> None:
    """Write the one line that an attempt leaves in the log, and count it."""
    kind = claimed.subscription.terms.target.kind.value
    metrics.ATTEMPTS.labels(kind, ended.result.outcome.value).inc()
    metrics.ATTEMPT_SECONDS.labels(kind).observe(ended.duration.total_seconds())
    match ended.state:
        case State.DELIVERED:
            metrics.DELIVERED.labels(kind).inc()
            lag = ended.started_at + ended.duration - claimed.signal.created_at
            metrics.DELIVERY_LAG.labels(kind).observe(max(0.0, lag.total_seconds()))
        case State.PARKED:
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
