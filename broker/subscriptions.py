"""Subscriptions: standing requests for signals, and the one place that decides whether a signal matches."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from broker.filters import Filter
from broker.names import is_pattern, matches
from broker.reach import EVERYWHERE, Reach
from broker.retries import DEFAULT_SCHEDULE
from broker.signals import Scope, Signal, Throw
from broker.targets import Target

Scalar = str | int | float | bool | None
"""The value of a correlation key."""


class HeadOfLine(enum.StrEnum):
    """What the deliveries behind a dead one in its ordering group do."""

    BLOCK = "block"
    """They wait until it is redriven or cancelled."""
    SKIP = "skip"
    """They continue."""


def are_steps(targets: Sequence[Target]) -> bool:
    """Return whether *targets* are steps, each of which has an id and an outcome of its own."""
    return len(targets) > 1 or targets[0].description is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSpec:
    """What a subscription asks for: which signals, delivered where and how.

    Args:
        name: A signal name, or a pattern (see `broker.names`).
        targets: Where to deliver: one target, or several steps in order.
        tenant_id: The tenant it belongs to; None is untenanted.
        execution_id: The execution that waits here.
        business_key: The execution's business key, by which a message may be correlated.
        correlation_keys: What else a message may be correlated by: values by their names.
        once: Whether the first matching signal consumes it, as it does a BPMN catch event.
        filter: Conditions on a signal's payload.
        ordered: Whether signals with the same ordering key are delivered one after the other, in the order in which
            their throws were answered.
        head_of_line: What the deliveries behind a dead one do, if it is ordered.
        schedule: Pauses between attempts; one more attempt than pauses.
        timeout: The maximum duration of an attempt, or of each of its steps; None takes the deliverer's setting.
        max_in_flight: The maximum number of attempts in flight, across all deliverers; None is no limit.
        max_per_second: The maximum number of attempts per second, across all deliverers; None is no limit.
        description: A note for people.
    """

    name: str
    targets: tuple[Target, ...]
    tenant_id: str | None = None
    execution_id: str | None = None
    business_key: str | None = None
    correlation_keys: Mapping[str, Scalar] | None = None
    once: bool = False
    filter: Filter | None = None
    ordered: bool = False
    head_of_line: HeadOfLine = HeadOfLine.BLOCK
    schedule: tuple[timedelta, ...] = DEFAULT_SCHEDULE
    timeout: timedelta | None = None
    max_in_flight: int | None = None
    max_per_second: float | None = None
    description: str | None = None

    @property
    def target(self) -> Target:
        """Where to deliver first: the only target, or that of the first step."""
        return self.targets[0]

    @property
    def in_steps(self) -> bool:
        """Whether it delivers in steps, each of which has an id and an outcome of its own."""
        return are_steps(self.targets)

    @property
    def is_signed(self) -> bool:
        """Whether any of its targets is signed, so that it needs a signing secret."""
        return any(target.is_signed for target in self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as the store has it.

    Args:
        id: Its id.
        spec: What it asks for.
        created_at: When its creation was recorded.
        created_by: The principal that created it; None: a worker, or an earlier version.
        owner: The reach that this principal had; without limits if it is not known.
        since: Its number in the sequence of signal ids: it gets later signals only.
        until: The number of its deletion in that sequence: it gets earlier signals only.
        consumed_by: The signal that consumed it, if it is `once`.
        paused_at: Since when its deliveries wait; None if it is not paused.
        disabled_because: Why it gets no signals until it is resumed; None if it gets some.
    """

    id: int
    spec: SubscriptionSpec
    created_at: datetime
    since: int
    created_by: str | None = None
    owner: Reach = EVERYWHERE
    until: int | None = None
    consumed_by: int | None = None
    paused_at: datetime | None = None
    disabled_because: str | None = None

    @property
    def tenants(self) -> tuple[str, ...] | None:
        """The tenants that it belongs to: its own, or those that its creator was limited to; None: to none."""
        return self.owner.tenants if self.spec.tenant_id is None else (self.spec.tenant_id,)

    def is_owned_by(self, reach: Reach) -> bool:
        """Return whether a principal with that *reach* may change it: it belongs to its tenants alone.

        Without a tenant of its own it may get what has no tenant, so the principal must see that. The store has this as
        a function of PostgreSQL, too, and `is_seen_by`: `is_owned` and `is_seen` (schema.sql).
        """
        if self.spec.tenant_id is not None:
            return reach.has_tenant(self.spec.tenant_id)
        return reach.has_untenanted and reach.owns(self.owner.tenants)

    def is_seen_by(self, reach: Reach) -> bool:
        """Return whether a principal with that *reach* may see it."""
        return self.is_owned_by(reach) or (reach.has_untenanted and self.tenants is None)

    @property
    def receives(self) -> bool:
        """Whether it gets any signals: it is neither deleted nor consumed nor disabled."""
        return self.until is None and self.consumed_by is None and self.disabled_because is None

    def mismatch(self, signal: Signal, *, replayed: bool = False) -> str | None:
        """Return why *signal* does not match, as a clause; None if it matches.

        A *replayed* signal need not be later than the subscription. A filter may take a second: where others wait,
        `broker.matching` has budgets for it.
        """
        reason = self.unfit(signal, replayed=replayed)
        if reason is None and self.spec.filter is not None:
            mismatch = self.spec.filter.mismatch(signal.context)
            reason = mismatch and filtered_out(mismatch)
        return reason

    def unfit(self, signal: Signal, *, replayed: bool = False) -> str | None:
        """Return why *signal* does not match whatever its payload is, as a clause; None if that is up to the filter."""
        return (
            self._too_early_or_late(signal.id, replayed=replayed)
            or self._named_otherwise(signal)
            or self._out_of_scope(signal, replayed=replayed)
        )

    def _too_early_or_late(self, signal_id: int, *, replayed: bool) -> str | None:
        if signal_id < self.since and not replayed:
            return "the subscription was created after the signal"
        if self.until is not None and signal_id > self.until:
            return "the subscription was deleted before the signal"
        if self.consumed_by is not None and self.consumed_by != signal_id:
            return f"signal {self.consumed_by} consumed the subscription"
        if self.disabled_because is not None:
            return f"the subscription is disabled: {self.disabled_because}"
        return None

    def _named_otherwise(self, signal: Signal) -> str | None:
        if matches(self.spec.name, signal.throw.name):
            return None
        what = "pattern" if is_pattern(self.spec.name) else "name"
        return f"the {what} {self.spec.name!r} does not match"

    def _out_of_scope(self, signal: Signal, *, replayed: bool) -> str | None:
        throw, spec = signal.throw, self.spec
        match throw.scope:
            case Scope.EXECUTION if spec.execution_id != throw.execution_id:
                return f"it is for the execution {throw.execution_id!r} only"
            case Scope.TENANT if spec.tenant_id != throw.tenant_id:
                return f"it is for the tenant {throw.tenant_id!r} only"
            case Scope.UNTENANTED if spec.tenant_id is not None:
                return "it is for subscriptions without a tenant only"
        if throw.audience is not None and spec.tenant_id not in {None, *throw.audience}:
            return "the caller does not reach the subscription's tenant"
        if (spec.tenant_id is None or replayed) and not self.owner.reads(throw):
            return "the subscription's creator may not read the signal"
        return None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A subscription that waits in an execution, as far as a throw to the execution depends on it.

    Args:
        name: Its signal name or pattern.
        tenants: The tenants that it belongs to; None: to none.
    """

    name: str
    tenants: tuple[str, ...] | None


def belonging_to_execution(throw: Throw, waiting: Sequence[Waiting]) -> Throw:
    """Return *throw* for those only to whom its execution belongs, if it is to one: to the first of those *waiting*.

    An execution that belongs to no tenant is for subscriptions without one, and so are its signals.
    """
    if throw.scope is not Scope.EXECUTION or not waiting:
        return throw
    tenants = waiting[0].tenants
    if tenants is None:
        return replace(throw, audience=throw.audience or ())
    if throw.audience is not None:
        tenants = tuple(tenant for tenant in tenants if tenant in throw.audience)
    return replace(throw, audience=tenants)


def filtered_out(mismatch: str) -> str:
    """Return, as a clause, that a filter does not match because of *mismatch*."""
    return f"the filter does not match: {mismatch}"
