from datetime import UTC, datetime, timedelta

import pytest

from broker.store.clocks import StoreClock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def after(seconds):
    return NOON + timedelta(seconds=seconds)


class Machine:
    """A machine whose clock shows 100 at noon, and where answers take a while."""

    def __init__(self):
        self.seconds = 100.0
        self.clock = StoreClock(lambda: self.seconds)

    def answer(self, *, at, takes, ahead=0.0):
        self.seconds = 100 + at + takes
        self.clock.note(after(at + ahead))

    def wait(self, moment):
        return pytest.approx(self.clock.seconds_until(moment), abs=1e-6)


def test_nothing_is_waited_for_before_an_answer_has_been_noted():
    assert Machine().wait(after(4)) == 0


def test_the_fastest_answer_knows_best():
    machine = Machine()
    for at, takes in enumerate([0.03, 0.002, 0.5]):
        machine.answer(at=at, takes=takes)
    machine.seconds = 103
    assert machine.wait(after(4)) == 1.002
    assert machine.wait(after(2)) == -0.998


def test_a_clock_that_is_set_is_believed_at_once_or_after_a_minute():
    machine = Machine()
    machine.answer(at=0, takes=0)
    machine.answer(at=1, takes=0, ahead=10)
    assert machine.wait(after(12)) == 1
    for at in (2, 33, 64):
        machine.answer(at=at, takes=0)
    assert machine.wait(after(65)) == 1
