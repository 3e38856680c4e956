"""Which faults befall a stack, one after the other: a matter of chance, and always the same for one seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from tests.chaos.faults import FAMILIES
from tests.chaos.faults.fault import Fault, together

PAIR_EVERY = 6
LONG_SECONDS = 20
"""Faults from this length on come in every other round only: they would take most of the time."""


def schedule(seed: int) -> Iterator[Fault]:
    """Yield faults without end, in rounds: each as often as the others, long ones half as often.

    After every few of them come two at once that hit different things: one RabbitMQ or the ways to it, and the other
    something else.
    """
    rng = random.Random(seed)
    between = [*FAMILIES["rabbitmq"], *FAMILIES["network"]]
    others = [*FAMILIES["processes"], *FAMILIES["postgres"], *FAMILIES["receivers"]]
    everything = [*between, *others]
    short = [fault for fault in everything if fault.seconds < LONG_SECONDS]
    for faults in itertools.cycle((everything, short)):
        for number, fault in enumerate(rng.sample(faults, len(faults)), 1):
            yield fault
            if number % PAIR_EVERY == 0:
                yield together(rng.choice(between), rng.choice(others))
