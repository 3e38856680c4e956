"""The fast lane: whoever is too slow for it makes room, and goes on in the slow one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice

SLOW = timedelta(seconds=1)
"""A subscription whose attempts take longer than this on average has no place in the fast lane."""
_WEIGHT = 0.2
"""How much the latest attempt counts in the average."""
_REMEMBERED = 10_000
"""How many subscriptions are remembered; those that were attempted longest ago are forgotten."""


@dataclass(slots=True)
class _Pace:
    """How one subscription's attempts go: their average in seconds, and since when some are in the fast lane."""

    seconds: float | None = None
    flying: dict[object, float] = field(default_factory=dict)


class FastLane:
    """Knows, from this process's own attempts, which subscriptions are too slow for the fast lane.

    That is one whose attempts are slow on average, or are under way for that long already, a twentieth of the places;
    and one that holds more than its share of the places: a quarter of them before its first attempt has ended, half of
    them later, if it is not alone.

    Args:
        places: How many attempts the lane makes at a time.
        clock: Monotonic seconds.
    """

    def __init__(self, places: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._clock = clock
        self._paces: OrderedDict[int, _Pace] = OrderedDict()
        self._busy: set[int] = set()

    def refuses(self, subscription_id: int) -> bool:
        """Return whether the next attempt of that subscription belongs into the slow lane."""
        pace = self._paces.get(subscription_id)
        if pace is None:
            return False
        if pace.seconds is not None and pace.seconds > SLOW.total_seconds():
            return True
        share = self._places // (4 if pace.seconds is None else 2)
        alone = pace.seconds is not None and self._busy <= {subscription_id}
        return self._is_stuck(pace) or (not alone and len(pace.flying) >= max(1, share))

    def _is_stuck(self, pace: _Pace) -> bool:
        few = max(1, self._places // 20)
        start = next(islice(pace.flying.values(), few - 1, None), None)
        return start is not None and self._clock() - start > SLOW.total_seconds()

    @contextmanager
    def place(self, subscription_id: int) -> Iterator[None]:
        """Hold one of the lane's places for an attempt of that subscription."""
        pace, token = self._pace(subscription_id), object()
        pace.flying[token] = self._clock()
        self._busy.add(subscription_id)
        try:
            yield
        finally:
            del pace.flying[token]
            if not pace.flying:
                self._busy.discard(subscription_id)

    def note(self, subscription_id: int, duration: timedelta) -> None:
        """Note how long an attempt of that subscription took, in whichever lane."""
        pace, seconds = self._pace(subscription_id), duration.total_seconds()
        pace.seconds = seconds if pace.seconds is None else pace.seconds + _WEIGHT * (seconds - pace.seconds)

    def _pace(self, subscription_id: int) -> _Pace:
        pace = self._paces.setdefault(subscription_id, _Pace())
        self._paces.move_to_end(subscription_id)
        if len(self._paces) > _REMEMBERED:
            self._paces.popitem(last=False)
        return pace
