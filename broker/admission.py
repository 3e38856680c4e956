"""Gates: whether a delivery whose turn it is may go now, and if not, why not and when to look again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.circuits import Circuit
from broker.deliveries import Reason
from broker.limits import ConcurrencySlots, Rate
from broker.subscriptions import Subscription

GRACE = timedelta(seconds=5)
"""How much longer than its attempt may take a delivery keeps its place in flight, or a probe its circuit."""


def disabled_clause(because: str) -> str:
    """Return why the deliveries of a subscription that is disabled are dead."""
    return f"the subscription is disabled: {because}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """How a delivery got through its gate: what has to be put right when its attempt has ended.

    Args:
        place: Whether it has one of its subscription's places in flight.
        circuit: Whether its target had failed before.
        probe: Whether it is the one attempt that tries a target whose circuit is half open.
    """

    place: bool = False
    circuit: bool = False
    probe: bool = False


UNHINDERED = Pass()
"""How most deliveries get through: nothing limits them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a delivery may not go now.

    Args:
        reason: One of `broker.deliveries.Reason`; or as a clause, why it will never go.
        due_at: When to look again; None: it is held.
    """

    reason: Reason | str
    due_at: datetime | None = None

    @property
    def final(self) -> bool:
        """Whether the delivery is dead."""
        return not isinstance(self.reason, Reason)


@dataclass(slots=True)
class Gate:
    """One subscription's gate.

    Args:
        subscription: Whose.
        places: Its places in flight, if they are limited.
        rate: Its slots, if they are limited.
    """

    subscription: Subscription
    places: ConcurrencySlots | None
    rate: Rate | None

    def admit(
        self, signal_id: int, circuit: Circuit | None, *, paid: bool, now: datetime, until: datetime
    ) -> Pass | Refusal:
        """Let the delivery of that signal pass *now*, or say why not.

        Args:
            signal_id: The signal.
            circuit: That of the delivery's target, if it failed before.
            paid: Whether the delivery was given a slot before.
            now: The store's clock.
            until: When the attempt will have ended.
        """
        if self.subscription.until is not None:
            return UNHINDERED  # it is not attempted, but cancelled
        refusal = self._refuse(signal_id, circuit, paid=paid, now=now)
        if refusal is not None:
            if self.places is not None:
                self.places.leave(signal_id)
            return refusal
        if self.places is not None:
            self.places.take(signal_id)
        probe = circuit is not None and circuit.retry_at is not None
        if circuit is not None and probe:
            circuit.begin_probe(until)
        return Pass(place=self.places is not None, circuit=circuit is not None, probe=probe)

    def _refuse(self, signal_id: int, circuit: Circuit | None, *, paid: bool, now: datetime) -> Refusal | None:
        if self.subscription.disabled_because is not None:
            return Refusal(disabled_clause(self.subscription.disabled_because))
        if self.subscription.paused_at is not None:
            return Refusal(Reason.PAUSED)
        look = None if circuit is None else circuit.next_look(now)
        if look is not None:
            return Refusal(Reason.CIRCUIT, look)
        if self.places is not None and not self.places.has(signal_id):
            return Refusal(Reason.IN_FLIGHT)
        # Last, because a slot that is given out is gone.
        slot = None if self.rate is None else self.rate.ask(now, paid=paid)
        return None if slot is None else Refusal(Reason.RATE, slot)
