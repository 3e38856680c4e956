"""When a look is repeated."""

import pytest

from tests.support.clock import Clock
from workers.spacing import Spacing


@pytest.mark.parametrize(("took", "pause"), [(0.0, 0.5), (0.02, 0.5), (0.2, 2.0), (60.0, 5.0)])
def test_a_look_is_repeated_after_a_time_in_proportion_to_what_it_took(took, pause):
    clock = Clock()
    spacing = Spacing(every=0.5, times=10, most=5.0, clock=clock)
    assert spacing.is_due
    with spacing.looking():
        clock.now += took
    clock.now += pause - 0.01
    assert not spacing.is_due
    clock.now += 0.02
    assert spacing.is_due


def test_a_look_that_fails_is_repeated_at_once():
    spacing = Spacing(every=0.5, times=10, clock=Clock())
    with pytest.raises(ValueError, match="refused"), spacing.looking():
        raise ValueError("refused")
    assert spacing.is_due


def test_a_cheap_look_is_repeated_as_often_as_wanted():
    clock = Clock()
    spacing = Spacing(every=0.0, times=1000, clock=clock)
    with spacing.looking():
        clock.now += 0.01
    assert spacing.is_due


def test_the_next_look_may_be_hurried():
    clock = Clock()
    spacing = Spacing(every=0.5, times=10, clock=clock)
    with spacing.looking():
        clock.now += 1.0
    spacing.hurry()
    assert not spacing.is_due
    clock.now += 0.51
    assert spacing.is_due
