"""Which faults befall a stack, one after the other: a matter of chance, and always the same for one seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.chaos.faults import FAMILIES
from tests.chaos.faults.fault import Fault, together

PAIR_EVERY = 6


def schedule(seed: int) -> Iterator[Fault]:
    """Yield faults without end: each as often as the others, and after every few of them two at once.

    Two at once hit different things: one RabbitMQ or the ways to it, and the other something else.
    """
    rng = random.Random(seed)
    between = [*FAMILIES["rabbitmq"], *FAMILIES["network"]]
    others = [*FAMILIES["processes"], *FAMILIES["postgres"], *FAMILIES["receivers"]]
    everything = [*between, *others]
    while True:
        rng.shuffle(everything)
        for number, fault in enumerate(everything, 1):
            yield fault
            if number % PAIR_EVERY == 0:
                yield together(rng.choice(between), rng.choice(others))
