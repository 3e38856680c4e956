"""Shares: how many places of a pool may be taken on behalf of one subscription, host or tenant."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

_REMEMBERED = 1 << 16


class Share(NamedTuple):
    """A claim to part of a pool.

    Args:
        key: Whose share it is.
        weight: How much it may have; see `Pool`.
    """

    key: Hashable
    weight: float


Levels = Sequence[Sequence[Share]]
"""The shares that a place counts towards: those of an inner level share what the outer ones leave."""


class Pool:
    """A number of places, of which each holder may have more, the more are free.

    A holder without a place takes any that is free. One that has some takes another only while it has less than
    weight * capacity * (the part that is free) ** 3. So one alone gets many places; the more holders there are the less
    each gets, and some stay free for the next one even if none of them gives anything back: it need not be known who
    is slow. (They are dynamic thresholds, as of Choudhury and Hahne, 1998. Theirs are proportional to what is free,
    which is enough where everything drains; here each one that hangs would take half of the rest, and the tenth the
    last place. With the third power, and a weight of 2, a hundred that hang leave one place in twenty.)

    Args:
        capacity: How many places there are.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._free = capacity
        self._taken: dict[Hashable, int] = {}

    def resize(self, capacity: int) -> None:
        """Let there be so many places; those that are taken stay taken."""
        self._free += capacity - self._capacity
        self._capacity = capacity

    @property
    def is_empty(self) -> bool:
        """Whether no place is taken."""
        return self._free == self._capacity

    def holds(self, key: Hashable) -> bool:
        """Return whether a place is taken that counts towards the share of *key*."""
        return key in self._taken

    def room(self, levels: Levels) -> int:
        """Return how many places, one after the other, may be taken that count towards all shares of *levels*."""
        room = max(0, self._free)
        for level in levels:
            room = min([_room(self._capacity, room, self._taken.get(key, 0), weight) for key, weight in level])
        return room

    def owes_one(self, levels: Levels, *, within: int) -> bool:
        """Return whether the outermost holder has no place, while at most so many were taken beyond the capacity."""
        return -self._free < within and not any(key in self._taken for key, _ in levels[0])

    def spares_one(self, level: Sequence[Share]) -> bool:
        """Return whether no holder of *level* has a place yet and more than a twelfth of the pool is free."""
        return self._free * 12 > self._capacity and not any(key in self._taken for key, _ in level)

    def take(self, levels: Levels, count: int = 1) -> None:
        """Take places that count towards all shares of *levels*, if there is room or not."""
        self._free -= count
        for level in levels:
            for key, _ in level:
                self._taken[key] = self._taken.get(key, 0) + count

    def give_back(self, levels: Levels, count: int = 1) -> None:
        """Give places back that were taken for *levels*."""
        self._free += count
        for level in levels:
            for key, _ in level:
                left = self._taken[key] - count
                if left:
                    self._taken[key] = left
                else:
                    del self._taken[key]


@lru_cache(_REMEMBERED)
def _room(capacity: int, free: int, taken: int, weight: float) -> int:
    """Return how many of *free* places a holder that has *taken* some may take, one after the other."""
    # The n-th one is taken while taken + n - 1 < weight * capacity * (y / capacity) ** 3, where y = free - n + 1. Both
    # sides are equal at the root of y ** 3 + p * y = p * (taken + free), which Cardano's formula finds.
    p = capacity**2 / weight
    half = p * (taken + free) / 2
    root = math.cbrt(half + math.sqrt(half * half + p**3 / 27))
    room = math.ceil(free - root + p / (3 * root))
    return min(free, max(0 if taken else 1, room))
