"""The way in: a throw is numbered, published, and only when RabbitMQ confirmed it, answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from broker import metrics
from broker.access import Principal
from broker.coalescing import Coalescer
from broker.errors import InvalidField, StoreUnavailable
from broker.names import check_id
from broker.publishing import publish_to_all, publish_to_record
from broker.settings import Settings
from broker.signals import Scope, Signal, Throw
from broker.store.deliveries.ordering import OrderingStore
from broker.store.signals.signals import IdempotencyKey, Numbered, SignalStore
from broker.transport import Transport
from gateway.http_errors import Conflicting

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A signal that is safe: RabbitMQ confirmed it. *replayed*: it was accepted before, under the same key."""

    signal: Signal
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Whom a throw is for, after the caller's own limits were applied."""

    scope: Scope
    tenant_id: str | None = None
    execution_id: str | None = None
    audience: tuple[str, ...] | None = None


def address(
    principal: Principal,
    *,
    tenant_id: str | None = None,
    without_tenant_id: bool = False,
    execution_id: str | None = None,
) -> Address:
    """Return whom a throw by *principal* with these fields is for; a named tenant wins over `without_tenant_id`.

    Raises:
        InvalidField: An id cannot be one, or an execution is named together with a tenant.
    """
    if execution_id is not None:
        if tenant_id is not None or without_tenant_id:
            raise InvalidField("/tenantId", "cannot be given together with executionId: an execution has its tenant")
        execution_id = check_id(execution_id, "/executionId")
        return Address(scope=Scope.EXECUTION, execution_id=execution_id, audience=principal.tenants)
    if tenant_id is not None:
        return Address(scope=Scope.TENANT, tenant_id=check_id(tenant_id, "/tenantId"))
    if without_tenant_id:
        return Address(scope=Scope.UNTENANTED)
    return Address(scope=Scope.BROADCAST, audience=principal.tenants)


class Intake:
    """Accepts throws. Those that arrive together are numbered in one round trip and published in one pipeline."""

    def __init__(self, transport: Transport, signals: SignalStore, ordering: OrderingStore, settings: Settings) -> None:
        self._transport = transport
        # A tap that lost its quorum takes the first half of the time, the record queue alone has the second.
        self._confirm_timeout = settings.confirm_timeout / 2
        self._store_timeout = settings.store_timeout
        self._numbers: Coalescer[tuple[Throw, IdempotencyKey | None], Numbered] = Coalescer(signals.number)
        self._expectations: Coalescer[tuple[int, str], None] = Coalescer(ordering.note_pending_records)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._expectations.__aexit__(kind, error, trace)
        await self._numbers.__aexit__(kind, error, trace)

    async def accept(
        self,
        throw: Throw,
        *,
        key: IdempotencyKey | None = None,
        admit: Callable[[Numbered], None] = lambda _: None,
    ) -> Accepted:
        """Number and publish *throw*; return once it is safe, and whoever is thrown later is delivered later.

        *admit* may refuse it by raising, knowing who is subscribed for the execution it names.

        Raises:
            Conflicting: The idempotency key was used with another body.
            InvalidField: It had expired when it was numbered, or is for a moment too far ahead.
            StoreUnavailable, TransportError: It could not be made safe now. It may be accepted all the same; a throw
                with the same idempotency key will not become a second signal.
        """
        numbered = await self._number(throw, key)
        if numbered.conflicting:
            raise Conflicting("This Idempotency-Key was used with another body less than 24 hours ago.")
        admit(numbered)
        signal = Signal(id=numbered.id, created_at=numbered.created_at, throw=throw)
        signal.check_moments()
        await self._publish(signal)
        await self._expect(signal)
        metrics.ACCEPTED.labels(throw.source.value, throw.scope.value).inc()
        log.info(
            "signal.accepted",
            signal_id=signal.id,
            name=throw.name,
            scope=throw.scope.value,
            source=throw.source.value,
            replayed=numbered.repeated,
        )
        return Accepted(signal=signal, replayed=numbered.repeated)

    async def _expect(self, signal: Signal) -> None:
        """Let those wait for *signal*, until it is recorded, that are thrown later and have the same ordering key."""
        if signal.throw.ordering_key is None or signal.is_scheduled:
            return
        try:
            await self._expectations.submit((signal.id, signal.throw.ordering_key), timeout=self._store_timeout)
        except TimeoutError as error:
            raise StoreUnavailable("the signal's turn was not noted in time") from error

    async def _number(self, throw: Throw, key: IdempotencyKey | None) -> Numbered:
        """Number *throw* in time, however long the batch before its own takes."""
        try:
            return await self._numbers.submit((throw, key), timeout=self._store_timeout)
        except TimeoutError as error:
            raise StoreUnavailable("the throw was not numbered in time") from error

    async def _publish(self, signal: Signal) -> None:
        """Publish to everybody; what is for later, to the recorder alone: the scheduler publishes it then."""
        publish = publish_to_record if signal.is_scheduled else publish_to_all
        await publish(self._transport, signal, timeout=self._confirm_timeout)
