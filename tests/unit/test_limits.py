import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.limits import NOTICE, CatchUp, ConcurrencySlots, Pace, Rate

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def rate(per_second, *, waiting=False):
    return Rate(per_second, LONG_AGO, waiting)


def admit(limited, seconds=0.0, *, at=None, first=False):
    return limited.admit(after(seconds), at=at, first=first)


def reserve(limited, seconds):
    """Return the reservations that are given out at that moment."""
    return [limited.reserve(after(seconds) + NOTICE) for _ in range(limited.free(after(seconds)))]


def test_the_first_goes_at_once_those_near_it_have_their_moments_and_the_others_wait():
    limited = rate(10)
    assert [admit(limited) for _ in range(5)] == [NOW, after(0.1), after(0.2), after(0.3), None]
    assert limited.waiting
    assert admit(limited, 5) is None, "the next one waits behind those that wait already"


def test_who_has_a_reservation_takes_no_other():
    limited = rate(10, waiting=True)
    moments = reserve(limited, 0)
    assert [admit(limited, 0.3, at=moment) for moment in moments[2:]] == moments[2:]
    assert moments == [after(n / 10) for n in range(2, 7)]
    assert limited.reserve(after(0.3)) == after(0.7)


def test_a_reservation_counts_until_shortly_after_its_moment():
    """No worker ran for a while, and everything comes back at the same moment: it goes at the rate."""
    limited = rate(100, waiting=True)
    moments = reserve(limited, 0)
    assert moments == [after(n / 100) for n in range(20, 61)]
    late, in_time = moments[:22], moments[22:]
    assert [admit(limited, 0.5, at=moment) for moment in in_time] == in_time
    assert [admit(limited, 0.5, at=moment) for moment in late] == [after(n / 100) for n in range(61, 83)]
    assert [admit(limited, 9, at=moment) for moment in moments] == [after(9 + n / 100) for n in range(41)]
    assert [admit(limited, 9, at=moment) for moment in moments].count(None) > 20, "they wait for other reservations"


def test_a_reservation_that_cannot_have_been_given_out_does_not_count():
    assert admit(rate(10, waiting=True), at=after(2)) == NOW


def test_what_was_not_used_is_not_saved_up():
    limited = rate(50)
    admit(limited)
    assert [admit(limited, 60) for _ in range(3)] == [after(60), after(60.02), after(60.04)]


def test_a_delivery_that_has_a_concurrency_slot_goes_before_those_that_wait():
    limited = rate(10, waiting=True)
    assert len(reserve(limited, 0)) == 5
    assert admit(limited, 0.2, first=True) == after(0.7)
    assert admit(limited, 0.2, first=True) == after(0.8)
    assert admit(limited, 0.2, first=True) is None, "they do not go before all of them"


def test_reservations_are_given_out_for_the_next_moments():
    limited = rate(10)
    assert reserve(limited, 0) == [after(n / 10) for n in range(2, 7)]
    assert reserve(limited, 0) == []
    assert reserve(limited, 0.25) == [after(0.7), after(0.8)]
    assert reserve(limited, 60) == [after(60 + n / 10) for n in range(2, 7)]


@pytest.mark.parametrize(("changed", "first"), [(10, 0), (0.5, 0), (0.001, 1000), (0.0005, 1000)])
def test_a_limit_that_was_changed_holds_for_the_next_reservation(changed, first):
    """The first moment that is not reserved was computed by the old limit; a higher one begins anew."""
    limited = rate(0.001)
    limited.reserve(NOW)
    limited.per_second = changed
    assert limited.reserve(NOW) == after(first)


@pytest.mark.slow
@given(
    st.floats(min_value=0.5, max_value=1000),
    st.lists(st.floats(min_value=0, max_value=0.05), min_size=50, max_size=200),
    st.floats(min_value=0.05, max_value=0.4),
)
def test_no_window_sees_more_than_the_rate_and_none_overtakes_however_deliveries_come(per_second, pauses, tick):
    """Deliveries come at any moment; those that wait get reservations once a tick, the oldest first."""
    limited, now, waiting, gone = rate(per_second), 0.0, [], []

    def sweep(at):
        count = min(limited.free(after(at)), len(waiting))
        gone.extend((limited.reserve(after(at) + NOTICE), one) for one in waiting[:count])
        del waiting[:count]
        limited.waiting = bool(waiting)

    ticks = 1
    for number, pause in enumerate(pauses):
        now += pause
        while ticks * tick <= now:
            sweep(ticks * tick)
            ticks += 1
        moment = admit(limited, now)
        if moment is None:
            waiting.append(number)
        else:
            gone.append((moment, number))
    moments = [moment for moment, _ in gone]
    assert [number for _, number in gone] == sorted(number for _, number in gone)
    gap = timedelta(seconds=1 / per_second)
    assert all(later - earlier >= gap for earlier, later in itertools.pairwise(moments))


@pytest.mark.parametrize("per_second", [0.001, 100_000])
def test_the_slowest_and_the_fastest_rate_have_reservations(per_second):
    limited = rate(per_second)
    assert (limited.reserve(NOW), limited.reserve(NOW)) == (NOW, after(1 / per_second))


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


def test_as_many_moments_are_taken_as_have_come():
    limited = rate(10)
    assert [limited.take(NOW, 5) for _ in range(2)] == [1, 0]
    assert [limited.take(after(0.1), 5), limited.take(after(3), 5)] == [1, 1], "what was not taken is not made up for"
    quick = rate(1000)
    assert (quick.take(NOW, 5), quick.slot_at) == (5, after(0.005))
