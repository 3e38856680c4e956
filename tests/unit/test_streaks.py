"""When a streak of failures says that work cannot be done now."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.errors import Unavailable
from broker.streaks import Streak

MOMENT = timedelta(milliseconds=20)


def moments(number):
    return asyncio.sleep(number * MOMENT.total_seconds())


def is_broken(streak):
    try:
        streak.check()
    except Unavailable:
        return True
    return False


@pytest.fixture
def streak():
    return Streak(lasting=MOMENT, fresh=50 * MOMENT)


async def test_one_failure_says_nothing_and_nor_do_many_at_once(streak):
    assert not is_broken(streak)
    for _ in range(100):
        streak.note_failure(Unavailable("away"))
    assert not is_broken(streak)


async def test_failures_over_a_while_do_until_one_success(streak):
    streak.note_failure(Unavailable("away"))
    await moments(2)
    streak.note_failure(Unavailable("still away"))
    with pytest.raises(Unavailable, match="still away"):
        streak.check()
    streak.note_success()
    assert not is_broken(streak)
    streak.note_failure(Unavailable("away again"))
    assert not is_broken(streak)


async def test_old_failures_say_nothing_and_begin_no_streak():
    streak = Streak(lasting=timedelta(0), fresh=MOMENT)
    streak.note_failure(Unavailable("away"))
    assert is_broken(streak)
    await moments(2)
    assert not is_broken(streak)
    streak = Streak(lasting=MOMENT, fresh=2 * MOMENT)
    streak.note_failure(Unavailable("long ago"))
    await moments(4)
    streak.note_failure(Unavailable("now"))
    assert not is_broken(streak)


async def test_what_fails_for_one_thing_that_may_be_at_fault_says_nothing_until_it_fails_for_another(streak):
    for _ in range(3):
        streak.note_failure(Unavailable("the message"), of=1)
        await moments(2)
    assert not is_broken(streak)
    for one in (2, 1):
        streak.note_failure(Unavailable("the messages"), of=one)
        await moments(2)
    assert is_broken(streak)
    streak.note_success()
    for _ in range(2):
        streak.note_failure(Unavailable("the message again"), of=1)
        await moments(2)
    assert not is_broken(streak)
