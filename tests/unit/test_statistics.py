"""Steps of statistics, and percentiles of latencies that are told apart by classes."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import InvalidField
from broker.statistics import HOUR, MINUTE, WIDTH, Figures, Window, add_up, align, make_window, percentiles

NOW = datetime(2026, 11, 28, 7, 47, 3, tzinfo=UTC)


def at(hour, minute=0, day=28):
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def test_a_window_is_one_of_whole_steps():
    assert make_window(None, None, MINUTE, now=NOW) == Window(at(6, 47), at(7, 48), MINUTE)
    assert make_window(at(7, 3), at(7, 18), 900, now=NOW) == Window(at(7), at(7, 30), 900)
    days = make_window(NOW - timedelta(days=3), NOW, 24 * HOUR, now=NOW)
    assert days.steps == [at(0, day=day) for day in (25, 26, 27, 28)]


@pytest.mark.parametrize(
    ("since", "until", "step", "pointer"),
    [
        (None, None, 30, "?step"),
        (None, None, 90, "?step"),
        (None, None, 0, "?step"),
        (at(7), at(7), MINUTE, "?since"),
        (at(8), at(7), MINUTE, "?since"),
        (at(7), datetime(9999, 12, 31, tzinfo=UTC), MINUTE, "?until"),
        (datetime(1, 1, 1, tzinfo=UTC), at(7), HOUR, "?since"),
        (None, datetime(1, 1, 1, tzinfo=UTC), HOUR, "?until"),
        (at(6, 46, day=27), at(7, 47), MINUTE, "?step"),
        (at(7, 46, day=26), at(8, day=26), MINUTE, "?since"),
        (at(7, 0, day=26), at(8, day=26), 1800, "?since"),
    ],
)
def test_a_window_that_cannot_be_answered_is_refused(since, until, step, pointer):
    with pytest.raises(InvalidField) as caught:
        make_window(since, until, step, now=NOW)
    assert caught.value.pointer == pointer


def test_there_are_up_to_1500_steps():
    assert len(make_window(at(7, 47) - timedelta(minutes=1500), at(7, 47), MINUTE, now=NOW).steps) == 1500
    assert make_window(at(7, 47, day=26), at(8, day=26), MINUTE, now=NOW).since == at(7, 47, day=26)
    assert make_window(at(0, day=1), at(1, day=1), HOUR, now=NOW).since == at(0, day=1)


def test_hours_stand_in_for_minutes_where_they_do():
    until = at(6)
    assert Window(at(5), at(8), MINUTE).spans(until) == [(MINUTE, at(5), at(8))]
    assert Window(at(5), at(8), HOUR).spans(until) == [(HOUR, at(5), at(6)), (MINUTE, at(6), at(8))]
    assert Window(at(3), at(5), HOUR).spans(until) == [(HOUR, at(3), at(5))]
    assert Window(at(7), at(8), HOUR).spans(until) == [(MINUTE, at(7), at(8))]
    assert Window(at(3, 20), at(7, 10), 600).spans_in_all(until) == [
        (MINUTE, at(3, 20), at(4)),
        (HOUR, at(4), at(6)),
        (MINUTE, at(6), at(7, 10)),
    ]
    assert Window(at(3, 20), at(3, 50), 600).spans_in_all(until) == [(MINUTE, at(3, 20), at(3, 50))]


def test_moments_are_aligned_to_steps():
    assert align(at(7, 47), HOUR) == at(7)
    assert align(at(7, 47), HOUR, up=True) == at(8)
    assert align(at(7), HOUR, up=True) == at(7)


def of(latencies):
    return Figures(at=NOW, classes=sorted(latencies), counts=[latencies[number] for number in sorted(latencies)])


def test_percentiles_are_off_by_less_than_a_tenth():
    chance = random.Random(3)
    values = sorted(chance.lognormvariate(4, 1.5) for _ in range(10_000))
    latencies = {}
    for value in values:
        number = max(0, math.ceil(math.log(value) / math.log(WIDTH)))
        latencies[number] = latencies.get(number, 0) + 1

    found = percentiles(of(latencies), (0.5, 0.95, 0.99))

    for share, value in zip((0.5, 0.95, 0.99), found, strict=True):
        assert value == pytest.approx(values[math.ceil(share * len(values)) - 1], rel=0.1)


def test_there_is_no_percentile_of_nothing():
    assert percentiles(of({}), (0.5,)) is None


def test_what_took_no_time_is_in_the_first_class():
    assert percentiles(of({0: 4}), (0.5, 1.0)) == [0.5, 1.0]
    assert percentiles(of({0: 1, 24: 1}), (0.99,)) == [pytest.approx(WIDTH**24, rel=0.1)]


def test_figures_of_minutes_are_added_up_with_their_latencies():
    rest = {"accepted": 1, "recorded": 2, "dead": 4, "retried": 5}
    first = Figures(at=at(7), key="k", delivered=3, classes=[3, 9], counts=[1, 2], **rest)
    second = Figures(at=at(7, 1), key="k", delivered=2, classes=[2, 9], counts=[1, 1])

    assert add_up(at(7), [first, second]) == Figures(
        at=at(7), key="k", delivered=5, classes=[2, 3, 9], counts=[1, 1, 3], **rest
    )
