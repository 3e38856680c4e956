"""Limits: how many attempts of a subscription are in flight, how many a second, and how fast it catches up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

LATENESS = timedelta(seconds=0.5)
"""How late a delivery may be and still keep its reservation."""
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

    A delivery whose moment is in the future is parked until then. When it comes back it goes, without another
    reservation. Deliveries that come back much too late (no worker ran for a while) must not go all at once, so beyond
    `LATENESS` they need another reservation.

    Args:
        per_second: How many moments there are in a second.
        slot_at: The first moment that is not reserved.
        spent_at: Until when the deliveries that were admitted use up the rate.
    """

    per_second: float
    slot_at: datetime
    spent_at: datetime

    def reserve(self, now: datetime, *, reserved: bool) -> datetime | None:
        """Return the moment that is reserved for a delivery; None if it may go *now*.

        *reserved*: it made a reservation before, and comes back.
        """
        gap = timedelta(seconds=1 / self.per_second)
        if not (reserved and self.spent_at <= now + LATENESS):
            moment = max(self.slot_at, now)
            self.slot_at = moment + gap
            if moment > now:
                return moment
        self.spent_at = max(self.spent_at, now) + gap
        return None


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
