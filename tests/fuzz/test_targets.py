"""Every reader of foreign bytes, tried with some thousand inputs; `make fuzz` goes on from here."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from tests.fuzz.mutations import inputs
from tests.fuzz.targets import TARGETS

INPUTS = 1500


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_keeps_its_promises(name):
    target = TARGETS[name]
    for data in islice(inputs(target.seeds, random.Random(name)), INPUTS):
        target.run(data)
