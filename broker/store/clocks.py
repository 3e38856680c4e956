"""The store's clock, by which moments are reserved, as far as a process knows it from the store's answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

_KEPT = 30.0
"""For how many seconds at least an answer counts: clocks drift, and are set."""


class StoreClock:
    """Estimates the store's clock to a millisecond or two, whatever this machine's clock shows.

    An answer that says what the store's clock showed is the older the longer it was on its way, so the one that was
    fastest knows best.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._offset = self._earlier = float("inf")
        self._began = clock()

    def note(self, now: datetime) -> None:
        """Note that an answer just arrived by which the store's clock showed *now*."""
        if self._clock() >= self._began + _KEPT:
            self._earlier, self._offset, self._began = self._offset, float("inf"), self._clock()
        self._offset = min(self._offset, self._clock() - now.timestamp())

    def seconds_until(self, moment: datetime) -> float:
        """Return for how many seconds to wait until the store's clock shows *moment*; it may be past.

        Before an answer has been noted, any moment counts as past.
        """
        offset = min(self._offset, self._earlier)
        return moment.timestamp() + offset - self._clock() if offset < float("inf") else 0.0
