"""Signals: named facts that a caller throws; accepted once, immutable."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.errors import InvalidField
from broker.filters import Context
from broker.jsontext import write_fast
from broker.names import MAX_ROUTING_KEY_BYTES, check_id, check_name, encode_id
from broker.tracing import TraceContext
from broker.variables import Types

MAX_TYPES_BYTES = 48 * 1024
"""The typed view travels in a message's header, and RabbitMQ takes a header of at most one frame (128 KiB)."""
MAX_AHEAD = timedelta(days=366)
"""How far ahead a signal may be scheduled, or expire."""


class Scope(enum.StrEnum):
    """Whom a signal is for."""

    BROADCAST = "broadcast"
    """Every subscription of that name."""
    TENANT = "tenant"
    """The subscriptions of one tenant."""
    UNTENANTED = "untenanted"
    """The subscriptions without a tenant."""
    EXECUTION = "execution"
    """The subscriptions of one execution."""


class Source(enum.StrEnum):
    """Which dialect a signal came in by."""

    NATIVE = "native"
    CAMUNDA = "camunda"
    SIGNAL_ENDPOINT = "signal-endpoint"


class SignalState(enum.StrEnum):
    """The state of a signal."""

    ACCEPTED = "accepted"
    """It is stored safely, and will be recorded."""
    SCHEDULED = "scheduled"
    """It is recorded and matched; its deliveries are parked until `deliver_at`, and no tap has it yet."""
    RECORDED = "recorded"
    """It is recorded, matched and published to the taps."""
    CANCELLED = "cancelled"
    """It was scheduled, and is not delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throw:
    """A request to throw a signal, checked but not numbered yet.

    Args:
        name: The signal's name.
        payload: Plain JSON text, as sent.
        types: The typed form of the variables that cannot be inferred from *payload* (see `broker.variables`).
        tenant_id: Set only for the scope `tenant`.
        execution_id: Set only for the scope `execution`.
        audience: The tenants that a principal limited to tenants throws to: the signal reaches their subscriptions and
            the untenanted ones, whatever its scope. None is no limit.
        source: The dialect.
        source_id: The id of the signal endpoint it came in through, if there is one.
        token_id: The id of the caller's token, if the token is in the store.
        business_key: Passed on to the subscribers.
        ordering_key: What it is about, such as an order or a customer: ordered subscriptions get signals with one key
            in the order of their throws. Passed on to the subscribers.
        deliver_at: It is not delivered before this moment; None is at once.
        expires_at: It is not delivered after this moment; None is no limit.
        trace: What caused it, as a W3C trace context, which is passed on to the subscribers.
        hops: How many deliveries led to it, as far as they are known (see `broker.hops`).

    Raises:
        InvalidField: A name or an id is empty, contains characters that are not allowed, or makes the routing key too
            long; or the signal would expire before it is delivered.
    """

    name: str
    payload: bytes = b"{}"
    types: Types = field(default_factory=Types)
    scope: Scope = Scope.BROADCAST
    tenant_id: str | None = None
    execution_id: str | None = None
    audience: tuple[str, ...] | None = None
    source: Source = Source.NATIVE
    source_id: int | None = None
    token_id: int | None = None
    business_key: str | None = None
    ordering_key: str | None = None
    deliver_at: datetime | None = None
    expires_at: datetime | None = None
    trace: TraceContext | None = None
    hops: int = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.ordering_key is not None:
            check_id(self.ordering_key, "/orderingKey")
        if self.deliver_at and self.expires_at and self.expires_at <= self.deliver_at:
            raise InvalidField("/expiresAt", "must be after deliverAt")
        if self.types and len(write_fast(self.types).encode()) > MAX_TYPES_BYTES:
            raise InvalidField("/variables", f"their types and valueInfo come to more than {MAX_TYPES_BYTES} bytes")
        for pointer, key in self._keys():
            size = len(key.encode())
            if size > MAX_ROUTING_KEY_BYTES:
                raise InvalidField(
                    pointer,
                    f"makes the routing key {size} bytes long; RabbitMQ takes at most {MAX_ROUTING_KEY_BYTES}",
                )

    def _keys(self) -> list[tuple[str, str]]:
        """Return the routing keys that may be longer than the name, each with what makes it long."""
        if self.is_fanout:
            return []
        pointer = "/executionId" if self.execution_id else "/tenantId" if self.tenant_id else "/name"
        return [(pointer, self.routing_key), *(("/name", key) for key in self.carbon_copies)]

    @property
    def is_fanout(self) -> bool:
        """Whether the signal goes to every tap and subscription, by the fanout exchange."""
        return self.scope is Scope.BROADCAST and self.audience is None

    @property
    def routing_key(self) -> str:
        """The routing key: of `signals.broadcast` for a fan-out, of `signals.routed` otherwise."""
        match self.scope:
            case Scope.EXECUTION:
                return f"execution.{encode_id(self.execution_id or '')}.{self.name}"
            case Scope.TENANT:
                return f"tenant.{encode_id(self.tenant_id or '')}.{self.name}"
            case Scope.BROADCAST if self.audience is None:
                return self.name
            case _:
                return f"untenanted.{self.name}"

    @property
    def carbon_copies(self) -> list[str]:
        """Further routing keys: one per tenant that a limited broadcast reaches."""
        tenants = self.audience if self.scope is Scope.BROADCAST else None
        return [f"tenant.{encode_id(tenant)}.{self.name}" for tenant in tenants or ()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A numbered signal: *id* ascends with time, *created_at* is the database's clock."""

    id: int
    created_at: datetime
    throw: Throw
    state: SignalState = SignalState.ACCEPTED
    context: Context = field(init=False, repr=False, compare=False)
    """The payload in the form for filters, which is parsed at most once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", Context.of(self.throw.payload))

    @property
    def is_scheduled(self) -> bool:
        """Whether it is to be delivered later than at once."""
        return self.throw.deliver_at is not None and self.throw.deliver_at > self.created_at

    def check_moments(self) -> None:
        """Let the signal pass if its moments made sense when it was accepted.

        Raises:
            InvalidField: It had expired by then, or is to be delivered or to expire more than a year later.
        """
        throw = self.throw
        for pointer, moment in (("/deliverAt", throw.deliver_at), ("/expiresAt", throw.expires_at)):
            if moment is not None and moment - self.created_at > MAX_AHEAD:
                raise InvalidField(pointer, f"is more than {MAX_AHEAD.days} days ahead")
        if throw.expires_at is not None and throw.expires_at <= self.created_at:
            raise InvalidField("/expiresAt", "is past already")
