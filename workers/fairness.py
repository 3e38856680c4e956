"""Fairness: how much each of many gets of what is too little for all."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Rota(Generic[K]):
    """Remembers when each was served, so that those come first that were not for longest, or not since they came.

    Args:
        group_of: Returns with whom a key shares the turns of a group.
    """

    def __init__(self, group_of: Callable[[K], Hashable]) -> None:
        self._group_of = group_of
        self._round = 0
        self._served: dict[K, int] = {}
        self._groups_served: dict[Hashable, int] = {}

    def order(self, keys: Iterable[K]) -> list[K]:
        """Return *keys*, those of the groups first whose turn it is; keys that are not among them are forgotten."""
        keys = list(keys)
        random.shuffle(keys)
        groups = {key: self._group_of(key) for key in keys}
        self._served = {key: self._served[key] for key in keys if key in self._served}
        self._groups_served = {
            group: self._groups_served[group] for group in set(groups.values()) if group in self._groups_served
        }
        return sorted(keys, key=lambda key: (self._groups_served.get(groups[key], 0), self._served.get(key, 0)))

    def note(self, keys: Iterable[K]) -> None:
        """Note that these were served now."""
        self._round += 1
        for key in keys:
            self._served[key] = self._groups_served[self._group_of(key)] = self._round


def in_turns(keys: Iterable[K], group_of: Callable[[K], Hashable]) -> list[K]:
    """Return *keys* so that their groups take turns; those of a group keep their order."""
    groups: dict[Hashable, list[K]] = {}
    for key in keys:
        groups.setdefault(group_of(key), []).append(key)
    return [key for turn in zip_longest(*groups.values()) for key in turn if key is not None]


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
