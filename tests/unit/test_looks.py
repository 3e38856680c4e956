"""When the scheduler looks into the dead queue."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.store.signals.looks import Looks


@pytest.fixture
def clock(monkeypatch):
    """Call it to let so many seconds pass."""
    now = [1000.0]

    class Loop:
        def time(self):
            return now[0]

    monkeypatch.setattr("asyncio.get_running_loop", Loop)

    def advance(seconds):
        now[0] += seconds

    return advance


@pytest.fixture
def looks(clock):
    return Looks(timedelta(seconds=8))


def due(looks, length, *, overdue=False, poison=True, lost=False):
    """Return whether a look is due once the queue has had that *length* for two ticks."""
    looks.are_due(length, overdue=overdue, poison=poison, lost=lost)
    return looks.are_due(length, overdue=overdue, poison=poison, lost=lost)


def test_garbage_alone_is_never_looked_at(looks):
    assert not due(looks, 20, poison=False)


def test_what_may_be_missing_is_looked_for(looks):
    assert due(looks, 20, poison=False, overdue=True)
    assert due(looks, 20, poison=False, lost=True)


def test_an_empty_queue_holds_no_poison_any_more(looks):
    assert due(looks, 0)
    assert not due(looks, 0, poison=False, lost=True)


def test_a_length_of_a_moment_is_that_of_a_queue_which_others_look_into(looks, clock):
    looks.note(3, overdue=False)
    clock(9)
    looks.note(3, overdue=False)
    clock(9)
    assert not due(looks, 3)
    assert not looks.are_due(1, overdue=False, poison=True, lost=False)
    assert not looks.are_due(3, overdue=False, poison=True, lost=False)
    assert due(looks, 1)


def test_what_does_not_change_is_looked_at_ever_more_rarely(looks, clock):
    seconds, at = 0, []
    while seconds < 3600:
        if due(looks, 3):
            looks.note(3, overdue=False)
            at.append(seconds)
        clock(1)
        seconds += 1
    assert at == [0, 8, 24, 56, 120, 248, 504, 1016, 1616, 2216, 2816, 3416]


def test_a_queue_that_always_changes_does_not_wear_out_its_messages(looks, clock):
    count = 0
    for tick in range(4 * 3600):
        if due(looks, 3 + tick // 4):
            looks.note(3 + tick // 4, overdue=False)
            count += 1
        clock(1)
    assert 1000 < count < 1050
