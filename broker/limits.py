"""Limits: how many attempts of a subscription are in flight, how many a second, and how fast it catches up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

LATENESS = timedelta(seconds=0.08)
"""How late a delivery may be and still keep its reservation. As these go at once after a stall, a second may have a
tenth too many, and no more."""
PATIENCE = timedelta(seconds=0.3)
"""How long a deliverer waits for the moment of a delivery that has just come: reservations need as long to be given."""
HORIZON = timedelta(seconds=0.6)
"""How far ahead reservations are given out."""
NOTICE = timedelta(seconds=0.2)
"""How far ahead at least: about what it takes until a deliverer has heard of it, and then waits."""
RAMP = 10
"""The catch-up of a resumed subscription starts at this many deliveries per second, and gains as many every second."""
AHEAD = timedelta(seconds=1)
"""How far ahead a backlog is scheduled."""


@dataclass(slots=True)
class ConcurrencySlots:
    """The concurrency slots of a subscription with a `max_in_flight`.

    Args:
        limit: How many there are.
        taken: How many are taken.
        own: The requested signals whose deliveries already hold a slot.
    """

    limit: int
    taken: int
    own: set[int]

    @property
    def left(self) -> int:
        """How many are free."""
        return max(0, self.limit - self.taken)

    def available(self, signal_id: int) -> bool:
        """Return whether the delivery of that signal has a slot, or can take a free one."""
        return signal_id in self.own or self.left > 0

    def take(self, signal_id: int) -> None:
        """Give the delivery of that signal its slot."""
        if signal_id not in self.own:
            self.own.add(signal_id)
            self.taken += 1

    def free(self, signal_id: int) -> None:
        """Take back the slot of the delivery of that signal, if it has one."""
        if signal_id in self.own:
            self.own.discard(signal_id)
            self.taken -= 1


@dataclass(slots=True)
class Rate:
    """The reservations of a subscription with a `max_per_second`: moments that are given out one after the other.

    A delivery whose moment is near gets it at once, and the deliverer waits for it. Others wait for their reservations,
    which they get in the order of their signals and not long before their moments. So order and limit hold over all
    deliverers, and a changed limit holds for all that wait.

    Args:
        per_second: How many moments there are in a second.
        slot_at: The first moment that is not reserved.
        waiting: Whether deliveries wait for their reservations.
    """

    per_second: float
    slot_at: datetime
    waiting: bool = False

    def admit(self, now: datetime, *, at: datetime | None, first: bool) -> datetime | None:
        """Return the moment at which a delivery goes; None if it has to wait for a reservation.

        Args:
            now: The store's clock.
            at: Its reservation, if it has one. It counts until `LATENESS` after it, so that deliveries that come back
                much too late (no worker ran for a while) do not go all at once; these may go before those that wait.
            first: Whether it may go before those that wait anyway.
        """
        first = first or at is not None
        if at is not None and now - LATENESS <= at <= now + 2 * HORIZON:
            return at
        if (self.waiting and not first) or self._next(now) > now + (HORIZON if first else PATIENCE):
            self.waiting = True
            return None
        return self.reserve(now)

    def take(self, now: datetime, most: int) -> int:
        """Reserve the moments that have come *now*, at most so many; return how many these were."""
        count = 0
        while count < most and self._next(now) <= now + LATENESS:
            self.reserve(now)
            count += 1
        return count

    def free(self, now: datetime) -> int:
        """Return how many reservations may be given out *now* to deliveries that wait for them."""
        return max(0, math.floor((now + HORIZON - self._next(now + NOTICE)) / self._gap) + 1)

    def reserve(self, earliest: datetime) -> datetime:
        """Return the next moment that is not before *earliest*; it is reserved from now on."""
        moment = self._next(earliest)
        self.slot_at = moment + self._gap
        return moment

    def _next(self, now: datetime) -> datetime:
        # One that is further ahead was computed by another limit.
        return self.slot_at if now < self.slot_at <= now + HORIZON + self._gap else now

    @property
    def _gap(self) -> timedelta:
        return timedelta(seconds=1 / self.per_second)


@dataclass(slots=True)
class Pace:
    """The moments at which many deliveries go, one after the other instead of all at once.

    Args:
        per_second: How many a second; None: all of them at once, though one after the other.
        at: The first moment that is not given out.
    """

    per_second: float | None
    at: datetime | None = None

    def next(self, now: datetime) -> datetime:
        """Return the next moment that is not past."""
        moment = now if self.at is None else max(self.at, now)
        self.at = moment + (timedelta.resolution if self.per_second is None else timedelta(seconds=1 / self.per_second))
        return moment


@dataclass(slots=True)
class CatchUp:
    """The moments at which the backlog of a pause goes on, one delivery after the other.

    Args:
        per_second: How many a second; None: `RAMP`.
        done: How many were scheduled so far.
        at: The moment of the last one.
    """

    per_second: float | None
    done: int
    at: datetime

    def due(self, now: datetime) -> int:
        """Return about how many are to be scheduled *now*; `next` returns the moment of each."""
        return max(0, math.ceil((now + AHEAD - max(self.at, now)).total_seconds() * self._rate))

    def next(self, now: datetime) -> datetime:
        """Return the moment at which the next one goes on."""
        self.at = max(self.at, now) + timedelta(seconds=1 / self._rate)
        self.done += 1
        return self.at

    @property
    def _rate(self) -> float:
        # With r + r*t a second it is r*t + r*t^2/2 until t; solved for t, that makes the rate of the next one:
        return self.per_second or RAMP * math.sqrt(1 + 2 * self.done / RAMP)
