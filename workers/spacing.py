"""Spacing: looks that take long are not repeated all the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHEAP = 0.02
"""Seconds that a look may take and be repeated as often as it is wanted."""


class Spacing:
    """Tells when the next look is due.

    Args:
        every: The least seconds between two looks.
        times: For how many times as long as the last look took there is none, if it was not cheap.
        most: The most seconds without one for that reason.
        clock: Monotonic seconds.
    """

    def __init__(
        self, *, every: float, times: float, most: float = float("inf"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every = every
        self._times = times
        self._most = most
        self._clock = clock
        self._due_at = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether it is time for a look."""
        return self._clock() >= self._due_at

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Measure a look, which is the block; if it fails, the next one is due at once."""
        began = self._clock()
        yield
        ended = self._clock()
        took = ended - began
        self._due_at = ended + max(self._every, min(self._most, self._times * took) if took > _CHEAP else 0.0)

    def hurry(self) -> None:
        """Let the next look be due in any case `every` seconds from now."""
        self._due_at = min(self._due_at, self._clock() + self._every)
