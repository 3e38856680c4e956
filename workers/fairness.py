"""Fairness: how much each of many gets of what is too little for all."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_NEW_ONES = 3
"""How many new ones have turns before one of the others has, so that these have some even if new ones keep coming."""
_NOBODY = object()
"""The group of a key that takes no turns."""


class _Line(Generic[K]):
    """Who comes next: new ones in the order in which they came, and after three turns of new ones another one."""

    def __init__(self) -> None:
        self._new: OrderedDict[K, None] = OrderedDict()
        self._others: OrderedDict[K, None] = OrderedDict()
        """Keys that have had turns, the least recently served one first."""
        self._in_a_row = 0
        """How many new ones have had turns since one of the others had."""

    def __bool__(self) -> bool:
        return bool(self._new or self._others)

    def __iter__(self) -> Iterator[K]:
        new, others, turns = iter(self._new), iter(self._others), max(0, _NEW_ONES - self._in_a_row)
        while (some := [*islice(new, turns), *islice(others, 1)]) or turns < _NEW_ONES:
            yield from some
            turns = _NEW_ONES

    def add(self, key: K) -> None:
        self._new[key] = None

    def discard(self, key: K) -> None:
        self._new.pop(key, None)
        self._others.pop(key, None)

    def note(self, key: K) -> None:
        """Note that *key* has had a turn."""
        self._in_a_row = self._in_a_row + 1 if key in self._new else 0
        self.discard(key)
        self._others[key] = None

    def pass_over(self, key: K) -> None:
        """Let those come first that are new like *key*, or that are not either."""
        (self._new if key in self._new else self._others).move_to_end(key)


class Rota(Generic[K]):
    """Whose turns are next, among many: mostly those that had none yet, else those that had none for longest.

    To tell some of them takes no longer the more there are.

    Args:
        group_of: Returns with whom a key shares the turns of a group.
    """

    def __init__(self, group_of: Callable[[K], Hashable]) -> None:
        self._group_of = group_of
        self._order: _Line[Hashable] = _Line()
        """The groups."""
        self._lines: dict[Hashable, _Line[K]] = {}
        """The keys of each group."""
        self._known: dict[K, Hashable] = {}
        """The group of each key."""

    def keep(self, keys: Collection[K]) -> None:
        """Let only *keys* take turns; new ones are added in random order."""
        for key in self._known.keys() - keys:
            self.discard(key)
        coming = [key for key in keys if self._known.get(key, _NOBODY) != self._group_of(key)]
        random.shuffle(coming)
        for key in coming:
            self.add(key)

    def add(self, key: K) -> None:
        """Let *key* take turns, if it does not yet."""
        group = self._group_of(key)
        if self._known.get(key, _NOBODY) == group:
            return
        self.discard(key)
        self._known[key] = group
        if group not in self._lines:
            self._lines[group] = _Line()
            self._order.add(group)
        self._lines[group].add(key)

    def discard(self, key: K) -> None:
        """Let *key* take no more turns."""
        group = self._known.pop(key, _NOBODY)
        if group is _NOBODY:
            return
        self._lines[group].discard(key)
        if not self._lines[group]:
            del self._lines[group]
            self._order.discard(group)

    def first(self, most: int) -> list[K]:
        """Return the keys whose turns are next, at most so many: one of each group, then another one of each."""
        return list(islice(_in_turns(self._lines[group] for group in islice(self._order, most)), most))

    def note(self, keys: Iterable[K]) -> None:
        """Note that these have had their turns, in this order."""
        for key in keys:
            group = self._known[key]
            self._lines[group].note(key)
            self._order.note(group)

    def pass_over(self, keys: Iterable[K]) -> None:
        """Let others come first before these, who could not take their turns."""
        for key in keys:
            group = self._known[key]
            self._lines[group].pass_over(key)
            self._order.pass_over(group)


def _in_turns(groups: Iterable[Iterable[K]]) -> Iterator[K]:
    """Yield one of each group, then another one of each, until there are no more."""
    left = deque(map(iter, groups))
    while left:
        try:
            yield next(left[0])
        except StopIteration:
            left.popleft()
        else:
            left.rotate(-1)


async def find_next(
    find: Callable[[int, int], Awaitable[dict[int, V]]], seen: int, *, most: int
) -> tuple[dict[int, V], int]:
    """Return the next ones by their ids, at most so many, and after which to go on; the last is followed by the first.

    *find* is given the id after which to begin, and how many there may be. *seen* is that one; 0: from the beginning.
    """
    found = last = await find(seen, most)
    if seen and len(found) < most:
        last = await find(0, most - len(found))
        found = found | last
    return found, max(last, default=0) if len(found) == most else 0


def divide(wanted: Sequence[int], most: int) -> list[int]:
    """Return how many each gets of *most*: those that want few get them, and the others an equal part of the rest.

    If there is less than one for each, the first ones get one (see `Rota`).
    """
    wanting = [number for number, want in enumerate(wanted) if want > 0]
    if most < len(wanting):
        served = set(wanting[:most])
        return [int(number in served) for number in range(len(wanted))]
    parts = [0] * len(wanted)
    for position, (_, number) in enumerate(sorted((want, number) for number, want in enumerate(wanted))):
        others = len(wanted) - position
        parts[number] = min(wanted[number], -(-most // others))
        most -= parts[number]
    return parts


def divide_by(wanted: Mapping[K, int], group_of: Callable[[K], Hashable], most: int) -> dict[K, int]:
    """Return how many each gets of *most*, if it is divided between groups first, and then within each of them."""
    groups: dict[Hashable, list[K]] = {}
    for key in wanted:
        groups.setdefault(group_of(key), []).append(key)
    totals = [sum(wanted[key] for key in group) for group in groups.values()]
    divided: dict[K, int] = {}
    for group, part in zip(groups.values(), divide(totals, most), strict=True):
        divided |= zip(group, divide([wanted[key] for key in group], part), strict=True)
    return divided
