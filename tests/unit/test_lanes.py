from contextlib import ExitStack
from datetime import timedelta

import pytest

from tests.support.clock import Clock
from workers.lanes import FastLane

SECOND = timedelta(seconds=1)
FAST = SECOND / 100


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lane(clock):
    """A lane of 100 places, in which 1 is known to be fast, and 2 and 3 are new."""
    lane = FastLane(100, clock=clock)
    lane.note(1, FAST)
    return lane


@pytest.fixture
def flying(lane):
    """Call it to put attempts of a subscription in flight."""
    with ExitStack() as stack:

        def fly(subscription_id, count):
            for _ in range(count):
                stack.enter_context(lane.occupy(subscription_id))

        yield fly


def test_who_is_slow_on_average_has_no_place_until_it_is_fast_again(lane):
    lane.note(1, 15 * SECOND)
    assert lane.refuses(1)
    needed = 0
    while lane.refuses(1):
        lane.note(1, FAST)
        needed += 1
    assert needed == 5


def test_one_slow_attempt_among_fast_ones_does_not_count(lane):
    lane.note(1, 4 * SECOND)
    assert not lane.refuses(1)


def test_who_does_not_answer_has_no_place_before_its_attempts_time_out(lane, flying, clock):
    flying(1, 5)
    clock.now = 0.9
    assert not lane.refuses(1)
    clock.now = 1.1
    assert lane.refuses(1)


def test_who_is_new_has_no_place_once_its_first_attempt_takes_long(lane, flying, clock):
    flying(2, 1)
    clock.now = 1.0
    assert not lane.refuses(2)
    clock.now = 1.1
    assert lane.refuses(2)
    lane.note(2, FAST)
    assert not lane.refuses(2)


def test_who_was_attempted_long_ago_is_forgotten(lane):
    lane.note(2, 15 * SECOND)
    for subscription_id in range(10, 10_010):
        lane.note(subscription_id, FAST)
    assert not lane.refuses(2)


def test_who_takes_a_second_on_average_is_not_slow_yet(lane):
    lane.note(5, SECOND)
    assert not lane.refuses(5)
    lane.note(5, SECOND + timedelta(milliseconds=1))
    assert lane.refuses(5)


def test_an_attempt_that_is_under_way_for_a_second_is_not_stuck_yet(lane, flying, clock):
    flying(1, 5)
    clock.now = 1.0
    assert not lane.refuses(1)


def test_fewer_than_a_twentieth_of_the_places_may_hang(lane, flying, clock):
    flying(1, 4)
    clock.now = 60.0
    assert not lane.refuses(1)
    flying(1, 1)
    assert not lane.refuses(1), "the fifth one has only begun"


def test_ten_thousand_subscriptions_are_remembered(lane):
    lane.note(2, 15 * SECOND)
    for subscription_id in range(10, 10_009):
        lane.note(subscription_id, FAST)
    assert lane.refuses(2)
