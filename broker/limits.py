"""Limits: how many attempts of a subscription are in flight, how many a second, and how fast it catches up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

LATENESS = timedelta(seconds=0.5)
"""How far deliveries that come later than their slots may crowd together."""
RAMP = 10
"""A subscription that is resumed catches up with so many deliveries a second, and so many more every second."""
AHEAD = timedelta(seconds=1)
"""How far ahead deliveries are told when to go on."""


@dataclass(slots=True)
class ConcurrencySlots:
    """The places of a subscription with a `max_in_flight`.

    Args:
        limit: How many there are.
        taken: How many are taken.
        own: The signals, of those asked about, whose deliveries have a place already.
    """

    limit: int
    taken: int
    own: set[int]

    @property
    def free(self) -> int:
        """How many are left."""
        return max(0, self.limit - self.taken)

    def has(self, signal_id: int) -> bool:
        """Return whether there is a place for the delivery of that signal: its own, or a free one."""
        return signal_id in self.own or self.free > 0

    def take(self, signal_id: int) -> None:
        """Give it that place."""
        if signal_id not in self.own:
            self.own.add(signal_id)
            self.taken += 1

    def leave(self, signal_id: int) -> None:
        """Take back the place that it had, if any."""
        if signal_id in self.own:
            self.own.discard(signal_id)
            self.taken -= 1


@dataclass(slots=True)
class Rate:
    """The slots of a subscription with a `max_per_second`, given out one after the other.

    A delivery that finds its slot in the future is parked until then, and has paid: when it comes back it goes, and
    takes no other slot. What comes back much too late (nobody ran for a while) must not go all at once, so beyond
    `LATENESS` it takes another slot.

    Args:
        per_second: How many there are in a second.
        slot_at: The first slot that nobody has.
        spent_at: Until when what was let through uses up the rate.
    """

    per_second: float
    slot_at: datetime
    spent_at: datetime

    def ask(self, now: datetime, *, paid: bool) -> datetime | None:
        """Return when to come again; None if the delivery may go *now*."""
        gap = timedelta(seconds=1 / self.per_second)
        if not (paid and self.spent_at <= now + LATENESS):
            slot = max(self.slot_at, now)
            self.slot_at = slot + gap
            if slot > now:
                return slot
        self.spent_at = max(self.spent_at, now) + gap
        return None


@dataclass(slots=True)
class Pace:
    """The moments that many deliveries are given one after the other, so that they do not go all at once.

    Args:
        per_second: How many in a second; None: all of them at once, though one after the other.
        at: The first moment that nobody has.
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
    """When the deliveries that were held during a pause go on, one after the other.

    Args:
        per_second: How many a second; None: `RAMP`.
        done: How many were told so far.
        at: When the last of them goes on.
    """

    per_second: float | None
    done: int
    at: datetime

    def due(self, now: datetime) -> int:
        """Return about how many are to be told *now*; `next` tells each."""
        return max(0, math.ceil((now + AHEAD - max(self.at, now)).total_seconds() * self._rate))

    def next(self, now: datetime) -> datetime:
        """Return when the next one goes on."""
        self.at = max(self.at, now) + timedelta(seconds=1 / self._rate)
        self.done += 1
        return self.at

    @property
    def _rate(self) -> float:
        # With r + r*t a second it is r*t + r*t^2/2 until t; solved for t, that makes the rate of the next one:
        return self.per_second or RAMP * math.sqrt(1 + 2 * self.done / RAMP)
