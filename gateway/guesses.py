"""Guesses of passwords: how many each address may make, and where a name is trusted all the same.

Addresses are those of `gateway.callers.network_of`. All that is kept here has a bound.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from math import ceil

from cachetools import LRUCache, TTLCache

BURST = 20
"""Failures that an address is allowed at once."""
PER_SECOND = 2.0
"""Failures that it is allowed in each second after that."""
ADDRESSES = 20_000
TRUSTED = 20_000
TRUSTED_SECONDS = 7 * 24 * 3600.0
MOST_GUESSES = 3_000
"""Wrong passwords for a name at an address, until it is not trusted there for `DISTRUSTED_SECONDS`."""
DISTRUSTED_SECONDS = 3600.0

Clock = Callable[[], float]


class FailureBudgets:
    """What each address may still fail: a bucket that refills, of the *size* addresses that failed last."""

    def __init__(self, *, clock: Clock = time.monotonic, size: int = ADDRESSES) -> None:
        self._clock = clock
        self._spent: LRUCache[str, tuple[float, float]] = LRUCache(size)

    def take(self, address: str) -> int:
        """Take a failure from what *address* is allowed; return 0, or after how many seconds there is one again."""
        spent, now = self._spent_by(address)
        if spent > BURST - 1:
            return ceil((spent - BURST + 1) / PER_SECOND)
        self._spent[address] = (spent + 1, now)
        return 0

    def give_back(self, address: str) -> None:
        """Give back what was taken: there was no failure."""
        spent, now = self._spent_by(address)
        self._spent[address] = (max(0.0, spent - 1), now)

    def _spent_by(self, address: str) -> tuple[float, float]:
        now = self._clock()
        spent, since = self._spent.get(address, (0.0, now))
        return max(0.0, spent - (now - since) * PER_SECOND), now


class Trust:
    """Knows which names signed in from which addresses in the last week: keyed digests of the last `TRUSTED` pairs."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._pairs: TTLCache[bytes, None] = TTLCache(TRUSTED, TRUSTED_SECONDS, timer=clock)
        self._guesses: TTLCache[bytes, int] = TTLCache(TRUSTED, DISTRUSTED_SECONDS, timer=clock)

    def includes(self, name: str, address: str) -> bool:
        """Return whether *name* signed in from *address*, and there were not too many wrong passwords for it there."""
        pair = self._digest(name, address)
        return pair in self._pairs and self._guesses.get(pair, 0) < MOST_GUESSES

    def add(self, name: str, address: str) -> None:
        """Note that *name* signed in from *address*."""
        self._pairs[self._digest(name, address)] = None

    def count_guess(self, name: str, address: str) -> None:
        """Note a wrong password for a *name* that is trusted at *address*."""
        pair = self._digest(name, address)
        self._guesses[pair] = self._guesses.get(pair, 0) + 1

    def _digest(self, name: str, address: str) -> bytes:
        return hashlib.blake2b(f"{name}\0{address}".encode(), key=self._key, digest_size=16).digest()
