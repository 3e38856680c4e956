from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.limits import CatchUp, ConcurrencySlots, Pace, Rate

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def rate(per_second):
    return Rate(per_second, LONG_AGO, LONG_AGO)


def test_the_first_goes_at_once_and_the_others_get_slots_one_after_the_other():
    slots = rate(10)
    asked = [slots.reserve(NOW, reserved=False) for _ in range(4)]
    assert asked == [None, after(0.1), after(0.2), after(0.3)]


def test_who_comes_back_in_its_slot_takes_no_other():
    slots = rate(10)
    parked = [slots.reserve(NOW, reserved=False) for _ in range(100)][1:]
    assert [slots.reserve(moment, reserved=True) for moment in parked] == [None] * 99
    assert slots.reserve(after(9.95), reserved=False) == after(10)


def test_who_is_new_waits_behind_those_that_have_slots():
    slots = rate(1)
    for _ in range(5):
        slots.reserve(NOW, reserved=False)
    assert slots.reserve(after(2), reserved=False) == after(5)


def test_what_was_not_used_is_not_saved_up():
    slots = rate(10)
    slots.reserve(NOW, reserved=False)
    assert [slots.reserve(after(60), reserved=False) for _ in range(3)] == [None, after(60.1), after(60.2)]


def test_of_what_comes_back_much_too_late_only_half_a_second_s_worth_goes_at_once():
    """Nobody ran for a minute, and everything parked meanwhile comes back at the same moment."""
    slots = rate(100)
    for _ in range(6000):
        slots.reserve(NOW, reserved=False)
    asked = [slots.reserve(after(60), reserved=True) for _ in range(5999)]
    assert 50 <= asked.count(None) <= 52
    assert max(filter(None, asked)) == pytest.approx(after(60 + 59.5), abs=timedelta(seconds=0.1))


@given(
    st.floats(min_value=0.5, max_value=1000),
    st.lists(st.floats(min_value=0, max_value=0.05), min_size=50, max_size=200),
    st.floats(min_value=0.05, max_value=0.4),
)
def test_no_window_sees_more_than_the_rate_however_deliveries_come_and_are_released(per_second, pauses, tick):
    """Deliveries come at any moment; the scheduler releases all that are due once a tick."""
    slots, now, parked, gone = rate(per_second), 0.0, [], []

    def release(until):
        due = [moment for moment in parked if moment <= after(until)]
        for _ in due:
            assert slots.reserve(after(until), reserved=True) is None
            gone.append(until)
        parked[:] = [moment for moment in parked if moment > after(until)]

    ticks = 1
    for pause in pauses:
        now += pause
        while ticks * tick <= now:
            release(ticks * tick)
            ticks += 1
        moment = slots.reserve(after(now), reserved=False)
        if moment is None:
            gone.append(now)
        else:
            parked.append(moment)
    for start in gone:
        window = [moment for moment in gone if start <= moment <= start + 5]
        assert len(window) <= per_second * (5 + tick) + 2


@pytest.mark.parametrize("per_second", [0.001, 100_000])
def test_the_slowest_and_the_fastest_rate_have_slots(per_second):
    slots = rate(per_second)
    slots.reserve(NOW, reserved=False)
    assert slots.reserve(NOW, reserved=False) == after(1 / per_second)


def test_a_place_is_kept_and_others_have_those_that_are_left():
    places = ConcurrencySlots(limit=2, taken=1, own={7})
    assert places.available(7)
    assert places.available(8)
    places.take(7)
    places.take(8)
    assert not places.available(9)
    assert places.available(8)
    places.free(8)
    assert places.available(9)


def test_a_limit_that_was_lowered_has_no_place_left():
    assert ConcurrencySlots(limit=2, taken=5, own=set()).left == 0


def catch_up(per_second, seconds, *, tick=0.25):
    """Return when, in seconds, each of the first deliveries goes on, if somebody looks every *tick*."""
    going, moments, now = CatchUp(per_second, 0, NOW), [], 0.0
    while now < seconds:
        moments += [(going.next(after(now)) - NOW).total_seconds() for _ in range(going.due(after(now)))]
        now += tick
    return moments


def test_a_subscription_catches_up_at_the_rate_that_was_asked_for():
    assert catch_up(4, 3)[:12] == pytest.approx([0.25 * n for n in range(1, 13)])


def test_without_a_rate_it_gets_ten_a_second_more_every_second():
    moments = catch_up(None, 10)
    assert sum(moment <= 1 for moment in moments) == pytest.approx(15, abs=2)
    assert sum(moment <= 9 for moment in moments) == pytest.approx(10 * 9 + 10 * 81 / 2, rel=0.05)


def test_nobody_is_told_more_than_about_a_second_ahead():
    assert max(catch_up(50, 2)) <= 3.1


def test_nobody_is_told_while_the_last_one_goes_on_later_than_that():
    assert CatchUp(10, 0, after(1)).due(NOW) == 0
    assert CatchUp(10, 0, after(5)).due(NOW) == 0
    assert CatchUp(10, 0, after(0.95)).due(NOW) == 1


def test_while_nobody_looked_nothing_is_saved_up():
    going = CatchUp(10, 0, NOW)
    assert going.due(after(60)) == 10
    assert going.next(after(60)) == after(60.1)


def test_a_pace_gives_out_moments_at_its_speed_and_none_that_is_past():
    pace = Pace(4)
    assert [pace.next(NOW) for _ in range(3)] == [NOW, after(0.25), after(0.5)]
    assert [pace.next(after(9)), pace.next(after(9))] == [after(9), after(9.25)]
    assert Pace(4, after(1)).next(NOW) == after(1), "it goes on where another one ended"


def test_a_pace_without_a_speed_gives_out_one_moment_after_the_other_all_the_same():
    pace = Pace(None)
    moments = [pace.next(NOW) for _ in range(1000)]
    assert moments == sorted(set(moments))
    assert moments[-1] < after(0.01)


def test_a_slot_that_is_freed_serves_one_delivery():
    slots = ConcurrencySlots(limit=2, taken=2, own={7})
    slots.free(7)
    assert slots.left == 1
    slots.take(8)
    assert not slots.available(9)


def test_a_delivery_without_a_slot_frees_none():
    slots = ConcurrencySlots(limit=2, taken=2, own={7})
    slots.free(8)
    assert slots.left == 0
