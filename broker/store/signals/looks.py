"""When to look into the dead queue: promptly after a change, and otherwise ever more rarely."""

from __future__ import annotations

import asyncio
from datetime import timedelta

_LONGEST = timedelta(minutes=10)
_PROMPT = 1000
"""How many looks are prompt. RabbitMQ before 4.3 counts each one towards the delivery limit of what it hands out."""


class Looks:
    """Decides when the next look is due.

    The length of a queue that others are looking into is wrong for a moment, so only one that was the same at two
    successive calls is a change. One that did not change may still hold other messages than before.

    Args:
        pause: The least time between two looks.
    """

    def __init__(self, pause: timedelta) -> None:
        self._pause = pause.total_seconds()
        self._wait = self._pause
        self._prompt = _PROMPT
        self._at = float("-inf")
        self._known: tuple[int, bool] | None = None
        self._length = -1

    def are_due(self, length: int, *, overdue: bool, poison: bool, lost: bool) -> bool:
        """Return whether to look into the dead queue now.

        Args:
            length: How many messages it seems to hold.
            overdue: Whether signals are overdue, so that it might hold them.
            poison: Whether it is thought to hold signals.
            lost: Whether signals are lost, which might turn up in it.
        """
        settled, self._length = length == self._length, length
        if not settled or not (overdue or poison or lost):
            return False
        if length == 0:
            return poison
        return self._since >= self._wait or (self._known != (length, overdue) and self.may_begin(length))

    def may_begin(self, length: int) -> bool:
        """Return whether a look that is needed may begin now."""
        return length == 0 or self._since >= (self._pause if self._prompt > 0 else self._wait)

    def note(self, length: int, *, overdue: bool) -> None:
        """Note that it was looked into just now."""
        changed = self._known != (length, overdue)
        self._known = length, overdue
        self._at = asyncio.get_running_loop().time()
        self._wait = self._pause if changed and self._prompt > 0 else min(2 * self._wait, _LONGEST.total_seconds())
        self._prompt = self._prompt - 1 if length else _PROMPT

    @property
    def _since(self) -> float:
        return asyncio.get_running_loop().time() - self._at
