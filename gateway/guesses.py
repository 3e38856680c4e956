"""Guesses of passwords: how many a place may make, and where a name is trusted all the same.

A *place* is where requests come from: see `gateway.callers.origin_of`. All that is kept here has a bound.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from math import ceil

from cachetools import LRUCache, TTLCache

BURST = 20
"""Failures that a place is allowed at once."""
PER_SECOND = 2.0
"""Failures that it is allowed in each second after that."""
PLACES = 20_000
TRUSTED = 20_000
TRUSTED_SECONDS = 7 * 24 * 3600.0
MOST_GUESSES = 3_000
"""Wrong passwords for a name at a place, until it is not trusted there for `DISTRUSTED_SECONDS`."""
DISTRUSTED_SECONDS = 3600.0

Clock = Callable[[], float]


class FailureBudgets:
    """What each place may still fail: a bucket that refills, of the *size* places that failed last."""

    def __init__(self, *, clock: Clock = time.monotonic, size: int = PLACES) -> None:
        self._clock = clock
        self._spent: LRUCache[str, tuple[float, float]] = LRUCache(size)

    def take(self, place: str) -> int:
        """Take a failure from what *place* is allowed; return 0, or after how many seconds there is one again."""
        spent, now = self._spent_by(place)
        if spent > BURST - 1:
            return ceil((spent - BURST + 1) / PER_SECOND)
        self._spent[place] = (spent + 1, now)
        return 0

    def give_back(self, place: str) -> None:
        """Give back what was taken: there was no failure."""
        spent, now = self._spent_by(place)
        self._spent[place] = (max(0.0, spent - 1), now)

    def _spent_by(self, place: str) -> tuple[float, float]:
        now = self._clock()
        spent, since = self._spent.get(place, (0.0, now))
        return max(0.0, spent - (now - since) * PER_SECOND), now


class Trust:
    """Knows which names signed in from which places in the last week: as keyed digests, of the last `TRUSTED` pairs."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._pairs: TTLCache[bytes, None] = TTLCache(TRUSTED, TRUSTED_SECONDS, timer=clock)
        self._guesses: TTLCache[bytes, int] = TTLCache(TRUSTED, DISTRUSTED_SECONDS, timer=clock)

    def includes(self, name: str, place: str) -> bool:
        """Return whether *name* signed in from *place*, and there were not too many wrong passwords for it there."""
        pair = self._digest(name, place)
        return pair in self._pairs and self._guesses.get(pair, 0) < MOST_GUESSES

    def add(self, name: str, place: str) -> None:
        """Note that *name* signed in from *place*."""
        self._pairs[self._digest(name, place)] = None

    def count_guess(self, name: str, place: str) -> None:
        """Note a wrong password for a *name* that is trusted at *place*."""
        pair = self._digest(name, place)
        self._guesses[pair] = self._guesses.get(pair, 0) + 1

    def _digest(self, name: str, place: str) -> bytes:
        return hashlib.blake2b(f"{name}\0{place}".encode(), key=self._key, digest_size=16).digest()
