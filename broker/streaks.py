"""Streaks of failures: work that failed for a while, and has not succeeded since, cannot be done now."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from datetime import timedelta

FRESH = timedelta(seconds=9)
"""Longer than any pause between the tries of work that is tried until it succeeds."""
LASTING = timedelta(seconds=1)


class Streak:
    """The failures of some work since it last succeeded.

    A single failure says nothing, nor do many at the same moment: a link was lost, say. Old ones say nothing either: if
    nothing is tried any more, trying it is the way to find out. Nor do those of one thing that may be at fault itself.

    Args:
        fresh: For how long a failure counts.
        lasting: How far apart the first and the last failure must be.
    """

    def __init__(self, *, fresh: timedelta = FRESH, lasting: timedelta = LASTING) -> None:
        self._fresh = fresh.total_seconds()
        self._lasting = lasting.total_seconds()
        self._first = self._last = float("-inf")
        self._error: Exception | None = None
        self._alone: dict[Hashable, float] = {}
        """When work that may be at fault itself last failed."""

    def note_success(self) -> None:
        """Note that the work was done."""
        self._error = None
        self._alone.clear()

    def note_failure(self, error: Exception, *, of: Hashable = None) -> None:
        """Note that the work could not be done because of *error*.

        *of*: what it was done for, if that may be the cause. Then it counts only if it fails for something else, too.
        """
        now = asyncio.get_running_loop().time()
        if of is not None:
            self._alone = {one: at for one, at in self._alone.items() if now <= at + self._fresh} | {of: now}
            if len(self._alone) == 1:
                return
        if self._error is None or now > self._last + self._fresh:
            self._first = now
        self._last, self._error = now, error

    def check(self) -> None:
        """Return unless the work has been failing for a while.

        Raises:
            Exception: It has; this is the last error.
        """
        now = asyncio.get_running_loop().time()
        if self._error is not None and self._last >= self._first + self._lasting and now <= self._last + self._fresh:
            raise self._error
