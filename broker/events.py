"""Events: what operators are to know of, told by signals of the broker's own."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.jsontext import encode
from broker.moments import show_moment
from broker.signals import Scope, Throw


class EventType(enum.StrEnum):
    """What happened: the name of the signal that tells it."""

    SUBSCRIPTION_DISABLED = "$broker.subscription.disabled"
    """Its target answered 410."""
    CIRCUIT_OPENED = "$broker.circuit.opened"
    """A webhook of a subscription is left alone for a while."""
    CIRCUIT_CLOSED = "$broker.circuit.closed"
    """It is called as ever again."""
    DELIVERY_DEAD = "$broker.delivery.dead"
    """Deliveries to a subscription were given up."""
    TARGET_FAILED = "$broker.target.failed"
    """A webhook of a subscription seems to be down, for the first time since it succeeded."""
    TARGET_RECOVERED = "$broker.target.recovered"
    """It succeeded, for the first time since then."""
    QUOTA_REACHED = "$broker.quota.reached"
    """What a tenant or a token wanted was refused, because a quota is used up."""
    MESSAGE_POISONED = "$broker.message.poisoned"
    """A dead queue holds more messages than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, once or several times within a minute.

    Args:
        id: Ascends.
        type: What happened: an `EventType`, of this version or of another one.
        since: When it happened first.
        at: When it happened last.
        count: How many times.
        subscription_id: The subscription that it is about; None: it is about none.
        subscription_name: The name or pattern that this had then.
        tenant_id: The tenant of that subscription, or of the quota.
        tenants: The tenants that it belongs to; None: to none.
        details: What else is known of the last time.
        signal_id: The signal that tells it; None if no subscription was for it, or there is none yet.
        signal_at: When that signal was numbered.
    """

    id: int
    type: str
    since: datetime
    at: datetime
    count: int
    subscription_id: int | None
    subscription_name: str | None
    tenant_id: str | None
    tenants: tuple[str, ...] | None
    details: Mapping[str, Any]
    signal_id: int | None = None
    signal_at: datetime | None = None

    @property
    def document(self) -> dict[str, Any]:
        """What the payload of its signal says."""
        return {
            "eventId": self.id,
            "since": show_moment(self.since),
            "at": show_moment(self.at),
            "count": self.count,
            "subscriptionId": self.subscription_id,
            "subscriptionName": self.subscription_name,
            "tenantId": self.tenant_id,
            "details": self.details,
        }

    @property
    def throw(self) -> Throw:
        """Its signal, which reaches its tenants' subscriptions, and those without a tenant that may get theirs."""
        scope = Scope.UNTENANTED if self.tenants is None else Scope.BROADCAST
        return Throw(name=self.type, payload=encode(self.document), scope=scope, audience=self.tenants)
