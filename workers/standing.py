"""Standing: how hosts and subscriptions have answered lately, which decides how many places they may have."""

from __future__ import annotations

import enum
from collections.abc import Hashable

from workers.lanes import SLOW_AFTER

_LONG = SLOW_AFTER.total_seconds()
_QUICK_PART = 0.5
"""Up to what part of the time of its attempts a receiver is quick: the rest is our own store's."""
_NEWEST = 0.1
"""How much the latest attempt counts in what part of its time a receiver takes, and in how long it usually takes."""
_UNUSUAL = 2.0
"""How many times as long as usual a receiver may take until it is silent, but `_LONGEST` seconds at most."""
_LONGEST = 10.0
_REMEMBERED = 300.0
"""Seconds for which a standing is remembered after the last attempt."""


class Standing(enum.Enum):
    """How one answers."""

    UNKNOWN = "unknown"
    """It has not answered yet, nor been silent."""
    ANSWERING = "answering"
    QUICK = "quick"
    """No attempt has been under way for a second, and most of the time of the latest ones was not spent there."""
    SILENT = "silent"
    """It has not answered for a second, or for twice as long as it usually takes, although asked for as long."""


class _Receiver:
    """A host or a subscription, and since when each of its attempts has been under way."""

    def __init__(self, now: float) -> None:
        self.standing = Standing.UNKNOWN
        self.attempts: dict[Hashable, float] = {}
        """In the order in which they were begun."""
        self.ended_at = now
        self._answered_at = now
        self._called = 1.0
        self._usual = 0.0

    def end(self, attempt: Hashable, *, called: float, answered: bool, now: float) -> None:
        took = now - self.attempts.pop(attempt)
        self.ended_at = now
        self._called += _NEWEST * (called - self._called)
        if answered:
            self._answered_at = now
            self._usual = max(took, self._usual + _NEWEST * (took - self._usual))
            if self.standing in {Standing.UNKNOWN, Standing.SILENT}:
                self.standing = Standing.ANSWERING

    def look(self, now: float) -> None:
        oldest, long_ago = next(iter(self.attempts.values())), now - _LONG
        if max(oldest, self._answered_at) < now - max(_LONG, min(_LONGEST, _UNUSUAL * self._usual)):
            self.standing, self._called = Standing.SILENT, 1.0
        elif self.standing in {Standing.ANSWERING, Standing.QUICK}:
            quick = self._called <= _QUICK_PART and oldest >= long_ago
            self.standing = Standing.QUICK if quick else Standing.ANSWERING


class Standings:
    """The standings of many, judged by their attempts; they are forgotten five minutes after the last one."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Receiver] = {}
        self._busy: dict[Hashable, _Receiver] = {}
        self._pruned = float("-inf")

    def of(self, key: Hashable) -> Standing:
        """Return the standing of *key*."""
        one = self._known.get(key)
        return Standing.UNKNOWN if one is None else one.standing

    def begin(self, key: Hashable, attempt: Hashable, now: float) -> None:
        """Note that *attempt* begins, at so many monotonic seconds."""
        if key not in self._known:
            self._known[key] = _Receiver(now)
        self._busy[key] = one = self._known[key]
        one.attempts[attempt] = now

    def end(self, key: Hashable, attempt: Hashable, *, called: float, answered: bool, now: float) -> None:
        """Note that *attempt* has ended: what part of its time the receiver took, and whether it *answered*."""
        one = self._busy[key]
        one.end(attempt, called=called, answered=answered, now=now)
        if not one.attempts:
            del self._busy[key]

    def look(self, now: float) -> None:
        """Judge those with attempts under way, several times a second."""
        for one in self._busy.values():
            one.look(now)
        if now - self._pruned >= _REMEMBERED / 3:
            self._pruned = now
            self._known = {
                key: one for key, one in self._known.items() if one.attempts or now - one.ended_at < _REMEMBERED
            }
