"""Fairness: how much each of many gets of what is too little for all."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def in_turns(keys: Iterable[K], group_of: Callable[[K], Hashable]) -> list[K]:
    """Return *keys* so that their groups take turns; those of a group keep their order."""
    groups: dict[Hashable, list[K]] = {}
    for key in keys:
        groups.setdefault(group_of(key), []).append(key)
    return [key for turn in zip_longest(*groups.values()) for key in turn if key is not None]


def divide(wanted: Sequence[int], most: int) -> list[int]:
    """Return how many each gets of *most*: those that want few get them, and the others an equal part of the rest.

    If there is less than one for each, the first ones get one: whoever is asked again and again varies the order, or
    those that want much would never have a turn.
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
