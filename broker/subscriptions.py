"""Subscriptions: standing requests for signals, and the one place that decides whether a signal matches."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.deliveries import DEFAULT_SCHEDULE
from broker.names import is_pattern, matches
from broker.signals import Scope, Signal


class Kind(enum.StrEnum):
    """What a target is."""

    WEBHOOK = "webhook"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a subscription delivers.

    Args:
        kind: What it is.
        address: A webhook's URL, or a queue's name.
        headers: Further headers of a webhook's requests.
    """

    kind: Kind
    address: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a subscription asks for, and how it wants it delivered.

    Args:
        name: A signal name, or a pattern (see `broker.names`).
        target: Where to deliver.
        tenant_id: The tenant it belongs to; None is untenanted.
        execution_id: The execution that waits here.
        once: Whether the first matching signal consumes it, as it does a BPMN catch event.
        schedule: Pauses between attempts; one more attempt than pauses.
        timeout: How long one attempt may take; None takes the deliverer's setting.
        description: For people.
    """

    name: str
    target: Target
    tenant_id: str | None = None
    execution_id: str | None = None
    once: bool = False
    schedule: tuple[timedelta, ...] = DEFAULT_SCHEDULE
    timeout: timedelta | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as it is kept.

    Args:
        id: Its id.
        terms: What it asks for.
        created_at: When its creation was recorded.
        since: Its own number in the sequence of the signals' ids: it gets later signals only.
        until: The number of its deletion in that sequence: it gets earlier signals only.
        consumed_by: The signal that consumed it, if it is `once`.
    """

    id: int
    terms: Terms
    created_at: datetime
    since: int
    until: int | None = None
    consumed_by: int | None = None

    def mismatch(self, signal: Signal) -> str | None:
        """Return why *signal* is not for this subscription, as a clause; None if it is."""
        return self._too_early_or_late(signal.id) or self._named_otherwise(signal) or self._out_of_scope(signal)

    def _too_early_or_late(self, signal_id: int) -> str | None:
        if signal_id < self.since:
            return "the subscription was created after the signal"
        if self.until is not None and signal_id > self.until:
            return "the subscription was deleted before the signal"
        if self.consumed_by is not None and self.consumed_by != signal_id:
            return f"signal {self.consumed_by} consumed the subscription"
        return None

    def _named_otherwise(self, signal: Signal) -> str | None:
        if matches(self.terms.name, signal.throw.name):
            return None
        what = "pattern" if is_pattern(self.terms.name) else "name"
        return f"the {what} {self.terms.name!r} does not match"

    def _out_of_scope(self, signal: Signal) -> str | None:
        throw, terms = signal.throw, self.terms
        match throw.scope:
            case Scope.EXECUTION if terms.execution_id != throw.execution_id:
                return f"it is for the execution {throw.execution_id!r} only"
            case Scope.TENANT if terms.tenant_id != throw.tenant_id:
                return f"it is for the tenant {throw.tenant_id!r} only"
            case Scope.UNTENANTED if terms.tenant_id is not None:
                return "it is for subscriptions without a tenant only"
        if throw.reach is not None and terms.tenant_id not in {None, *throw.reach}:
            return "the caller does not reach the subscription's tenant"
        return None
