"""Guesses of passwords: how many each address may make, whose turn it is, and where a name is trusted all the same.

Addresses are those of `gateway.callers.network_of`. All that is kept here has a bound.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from math import ceil

from cachetools import LRUCache, TTLCache

BURST = 20
"""Failures that an address is allowed at once."""
PER_SECOND = 2.0
"""Failures that it is allowed in each second after that."""
ADDRESSES = 20_000
FAILED_SECONDS = 3600.0
"""For how long the failures of an address let others go first, since the last one."""
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
        self._failures: TTLCache[str, int] = TTLCache(size, FAILED_SECONDS, timer=clock)

    def take(self, address: str) -> int:
        """Take a failure from what *address* is allowed; return 0, or after how many seconds there is one again."""
        spent, now = self._spent_by(address)
        if spent > BURST - 1:
            return ceil((spent - BURST + 1) / PER_SECOND)
        self._spent[address] = (spent + 1, now)
        self._failures[address] = self.failures(address) + 1
        return 0

    def give_back(self, address: str) -> None:
        """Give back what was taken: there was no failure."""
        spent, now = self._spent_by(address)
        self._spent[address] = (max(0.0, spent - 1), now)
        self._failures[address] = max(0, self.failures(address) - 1)

    def failures(self, address: str) -> int:
        """Return how many failures were taken and not given back, until there were none for an hour."""
        return self._failures.get(address, 0)

    def _spent_by(self, address: str) -> tuple[float, float]:
        now = self._clock()
        spent, since = self._spent.get(address, (0.0, now))
        return max(0.0, spent - (now - since) * PER_SECOND), now


class Turns:
    """Turns, one at a time: the lowest rank is next, and of several with the same rank the first one that came.

    Args:
        most: How many may wait.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._taken = False
        self._waiting: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def turn(self, rank: int) -> AsyncIterator[bool]:
        """Wait for a turn, which lasts as long as the block; yield whether there is one: too many others go first."""
        has_turn = await self._wait(rank) if self._taken else True
        if has_turn:
            self._taken = True
        try:
            yield has_turn
        finally:
            if has_turn:
                self._pass_on()

    async def _wait(self, rank: int) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
        if len(self._waiting) > self._most:
            last = max(self._waiting)
            self._waiting.remove(last)
            heapq.heapify(self._waiting)
            if not last[-1].done():
                last[-1].set_result(False)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting = [one for one in self._waiting if one[-1] is not turn]
                heapq.heapify(self._waiting)
            elif turn.result():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():  # else its caller has hung up
                turn.set_result(True)
                return
        self._taken = False


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
