"""Admission: whether a delivery may go now, and if not, why not and when to ask again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.circuits import Circuit
from broker.deliveries import Reason
from broker.limits import ConcurrencySlots, Rate
from broker.subscriptions import Subscription

LEASE_GRACE = timedelta(seconds=5)
"""Grace period after an attempt's timeout before its concurrency slot (or its probe) is taken back."""


def disabled_clause(because: str) -> str:
    """Return why the deliveries of a disabled subscription are dead."""
    return f"the subscription is disabled: {because}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The delivery may go; the flags say what has to be undone when its attempt has ended.

    Args:
        slot: Whether it has one of its subscription's concurrency slots.
        circuit: Whether its target had failed before.
        probe: Whether it is the one attempt that tries a target whose circuit is half open.
        at: The moment that its subscription's rate gives it, by the store's clock; None: now.
        now: What that clock showed when it was admitted, if it has such a moment.
    """

    slot: bool = False
    circuit: bool = False
    probe: bool = False
    at: datetime | None = None
    now: datetime | None = None


UNCONDITIONAL = Admitted()
"""How most deliveries are admitted: nothing limits them, and nothing has to be undone."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """The delivery may not go now, and is parked until something happens.

    Args:
        reason: Why.
    """

    reason: Reason


@dataclass(frozen=True, slots=True)
class Denied:
    """The delivery will never go, and is dead.

    Args:
        reason: Why, as a clause.
    """

    reason: str


@dataclass(slots=True)
class AdmissionControl:
    """Decides for the deliveries of one subscription.

    Args:
        subscription: The subscription.
        slots: Its concurrency slots, if they are limited.
        rate: Its rate, if it is limited.
    """

    subscription: Subscription
    slots: ConcurrencySlots | None
    rate: Rate | None

    def admit(
        self,
        signal_id: int,
        circuit: Circuit | None,
        later: Sequence[Circuit] = (),
        *,
        at: datetime | None,
        now: datetime,
        until: datetime,
    ) -> Admitted | Deferred | Denied:
        """Decide whether the delivery of that signal may go *now*.

        Args:
            signal_id: The signal.
            circuit: That of the delivery's target, if it failed before.
            later: Those of the targets of its later steps, as far as they failed before.
            at: The delivery's reservation of the rate, if it has one.
            now: The store's clock.
            until: When the attempt will have ended.
        """
        if self.subscription.until is not None:
            return UNCONDITIONAL  # it is not attempted, but cancelled
        obstacle = self._obstacle(signal_id, circuit, later, now=now)
        # Last, because a reservation cannot be taken back.
        moment = None
        if obstacle is None and self.rate is not None:
            moment = self.rate.admit(now, at=at, first=self.slots is not None and signal_id in self.slots.own)
            obstacle = Deferred(Reason.RATE) if moment is None else None
        if obstacle is not None:
            if self.slots is not None:
                self.slots.free(signal_id)
            return obstacle
        if self.slots is not None:
            self.slots.take(signal_id)
        probe = circuit is not None and circuit.retry_at is not None
        if circuit is not None and probe:
            circuit.begin_probe(until)
        return Admitted(
            slot=self.slots is not None,
            circuit=circuit is not None,
            probe=probe,
            at=moment,
            now=None if moment is None else now,
        )

    def _obstacle(
        self, signal_id: int, circuit: Circuit | None, later: Sequence[Circuit], *, now: datetime
    ) -> Deferred | Denied | None:
        if self.subscription.disabled_because is not None:
            return Denied(disabled_clause(self.subscription.disabled_because))
        if self.subscription.paused_at is not None:
            return Deferred(Reason.PAUSED)
        for one in (*([] if circuit is None else [circuit]), *(one for one in later if one.is_spared(now))):
            if not one.lets_pass(now):
                one.is_awaited = True
                return Deferred(one.reason(now))
        if self.slots is not None and not self.slots.available(signal_id):
            return Deferred(Reason.IN_FLIGHT)
        return None
