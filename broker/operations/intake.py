"""The intake: a throw is numbered, published, and answered only once RabbitMQ has confirmed it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import Self

import structlog

from broker import metrics, tracing
from broker.coalescing import Coalescer
from broker.errors import IdempotencyConflict, QuotaExceeded, StoreUnavailable, TransportError
from broker.names import check_throwable
from broker.operations.quotas import Quotas
from broker.operations.reports import AcceptanceReports
from broker.publishing import SignalPublisher
from broker.settings import Settings
from broker.signals import Signal, Throw
from broker.store.deliveries.ordering import OrderingStore
from broker.store.postgres.database import Database, DataError
from broker.store.signals.intake_books import IntakeBooks
from broker.store.signals.signals import IdempotencyKey, Numbered, SignalStore
from broker.streaks import Streak
from broker.subscriptions import Waiting, belonging_to_execution
from broker.transport import Transport

_FRESH = timedelta(seconds=6)
"""For how long refused throws count. A gateway that is not ready may get no others: after that it is tried again."""

_AT_ONCE = 100
"""How many throws are numbered in one round trip: they go on together, and other work waits until all have."""

log = structlog.get_logger()

_accepted = cache(metrics.ACCEPTED.labels)
"""`labels` takes a lock and formats its arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A signal that is safe: RabbitMQ has confirmed it. *replayed*: an earlier throw with the same key was accepted."""

    signal: Signal
    replayed: bool


class Intake:
    """Accepts throws. Those that arrive together are numbered in one round trip and published in one pipeline."""

    def __init__(
        self,
        transport: Transport,
        signals: SignalStore,
        ordering: OrderingStore,
        reports: AcceptanceReports,
        settings: Settings,
        *,
        quotas: Quotas | None = None,
    ) -> None:
        self.outcomes = Streak(fresh=_FRESH)
        """What became of the throws."""
        self._publisher = SignalPublisher(transport, timeout=settings.confirm_timeout)
        self._reports = reports
        self._quotas = quotas
        self._store_timeout = settings.store_timeout
        self._signals = signals
        self._numbers: Coalescer[tuple[Throw, IdempotencyKey | None], Numbered] = Coalescer(
            self._number_together, max_batch=_AT_ONCE
        )
        self._pending_records: Coalescer[tuple[int, str], None] = Coalescer(ordering.note_pending_records)

    async def __aenter__(self) -> Self:
        await self._publisher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pending_records.__aexit__(kind, error, trace)
        await self._numbers.__aexit__(kind, error, trace)
        await self._publisher.__aexit__(kind, error, trace)

    async def accept(
        self,
        throw: Throw,
        *,
        tenants: Sequence[str] | None = None,
        key: IdempotencyKey | None = None,
        check: Callable[[Sequence[Waiting]], None] = lambda _: None,
    ) -> Accepted:
        """Number and publish *throw*; return once it is safe and later throws are sure to be delivered after it.

        *tenants* are those that its caller is limited to; None: it is not.
        *check* may raise, to stop the throw, once it is known who waits in the execution that it names.

        Raises:
            IdempotencyConflict: The idempotency key was used with another body.
            InvalidField: Its name is one of the broker's own, it had expired when it was numbered, or its `deliver_at`
                is too far ahead.
            QuotaExceeded: Its token, or one of its tenants, has used what it may.
            StoreUnavailable, TransportError: It could not be made safe now. It may be accepted all the same; another
                throw with the same idempotency key does not become a second signal.
        """
        began = time.monotonic()
        check_throwable(throw.name)
        with self._noting_failures(throw):
            numbered = await self._take_number(throw, tenants, key)
            check(numbered.waiting)
            throw = belonging_to_execution(throw, numbered.waiting)
            signal = Signal(id=numbered.id, created_at=numbered.created_at, throw=throw)
            signal.check_moments()
            await self._publish(signal, spent=time.monotonic() - began)
            await self._note_pending_record(signal)
        self.outcomes.note_success()
        self._reports.note(signal.id)
        return self._note_accepted(signal, numbered)

    async def accept_message(
        self,
        throw: Throw,
        record: Callable[[Signal], Awaitable[Signal | None]],
        *,
        tenants: Sequence[str] | None = None,
        key: IdempotencyKey | None = None,
    ) -> Accepted:
        """Number *throw*, which is a message; return once *record* has recorded it, which may raise to stop it.

        What *record* returns, the signal as it was recorded, is published to the record queue alone, so that a
        recorder publishes the attempts at once. If that fails, the scheduler rescues them. It returns None for a
        message that is safe, and recorded later.

        Raises:
            IdempotencyConflict, InvalidField, QuotaExceeded, StoreUnavailable: As for `accept`.
        """
        began = time.monotonic()
        check_throwable(throw.name)
        with self._noting_failures(throw):
            numbered = await self._take_number(throw, tenants, key)
            message = Signal(id=numbered.id, created_at=numbered.created_at, throw=throw)
            signal = await record(message)
        if signal is None:
            self.outcomes.note_success()
            return self._note_accepted(message, numbered)
        try:
            await self._publisher.publish_to_record(signal, spent=time.monotonic() - began)
        except TransportError as error:
            self.outcomes.note_failure(error)
            log.warning("message.unpublished", signal_id=signal.id, error=str(error))
        else:
            self.outcomes.note_success()
        self._reports.note(signal.id)
        return self._note_accepted(signal, numbered)

    @contextmanager
    def _noting_failures(self, throw: Throw) -> Iterator[None]:
        """Note for readiness what keeps *throw* from being accepted, unless that is up to its caller."""
        try:
            yield
        except (StoreUnavailable, TransportError) as error:
            self.outcomes.note_failure(error)
            raise
        except DataError as error:
            self.outcomes.note_failure(error, of=throw.name)
            raise

    async def _take_number(self, throw: Throw, tenants: Sequence[str] | None, key: IdempotencyKey | None) -> Numbered:
        if self._quotas is not None and not self._quotas.are_none:
            await self._quotas.admit(throw, tenants)
        numbered = await self._number(throw, key)
        if numbered.conflicting:
            raise IdempotencyConflict("This Idempotency-Key was used with another body less than 24 hours ago.")
        return numbered

    def _note_accepted(self, signal: Signal, numbered: Numbered) -> Accepted:
        throw = signal.throw
        _accepted(throw.source.value, throw.scope.value).inc()
        log.info(
            "signal.accepted",
            signal_id=signal.id,
            name=throw.name,
            scope=throw.scope.value,
            source=throw.source.value,
            replayed=numbered.repeated,
        )
        return Accepted(signal=signal, replayed=numbered.repeated)

    def note_refusal(self, error: QuotaExceeded) -> None:
        """Note that something else than a throw was refused because a quota is used up; see `Quotas.note_refusal`."""
        if self._quotas is not None:
            self._quotas.note_refusal(error)

    def restore(self) -> None:
        """Publish again what was accepted lately: the record queue may have lost it."""
        self._publisher.restore()

    async def _note_pending_record(self, signal: Signal) -> None:
        """Make later throws with the same ordering key wait until *signal* is recorded."""
        if signal.throw.ordering_key is None or signal.is_scheduled:
            return
        try:
            await self._pending_records.submit((signal.id, signal.throw.ordering_key), timeout=self._store_timeout)
        except TimeoutError as error:
            raise StoreUnavailable("the signal's pending record was not stored in time") from error

    async def _number(self, throw: Throw, key: IdempotencyKey | None) -> Numbered:
        """Number *throw* in time, however long the batch before it takes."""
        tracer = None if throw.trace is None else tracing.tracer()
        if tracer is None or throw.trace is None:
            return await self._number_in_time(throw, key)
        with tracer.numbering(throw.trace):
            return await self._number_in_time(throw, key)

    async def _number_in_time(self, throw: Throw, key: IdempotencyKey | None) -> Numbered:
        try:
            return await self._numbers.submit((throw, key), timeout=self._store_timeout)
        except TimeoutError as error:
            raise StoreUnavailable("the throw was not numbered in time") from error

    async def _number_together(self, throws: Sequence[tuple[Throw, IdempotencyKey | None]]) -> Sequence[Numbered]:
        began = time.perf_counter()
        try:
            return await self._signals.number(throws)
        finally:
            metrics.NUMBERING_SECONDS.observe(time.perf_counter() - began)

    async def _publish(self, signal: Signal, *, spent: float) -> None:
        """Publish to the recorder and to taps; a scheduled signal to the recorder alone: the scheduler publishes it."""
        publish = self._publisher.publish_to_record if signal.is_scheduled else self._publisher.publish
        await publish(signal, spent=spent)


@asynccontextmanager
async def open_intake(database: Database, transport: Transport, settings: Settings) -> AsyncIterator[Intake]:
    """Yield an intake; leaving reports the last signals that it accepted."""
    async with (
        AcceptanceReports(IntakeBooks(database)) as reports,
        Quotas(database) as quotas,
        Intake(transport, SignalStore(database), OrderingStore(database), reports, settings, quotas=quotas) as intake,
    ):
        yield intake
