import random
from datetime import UTC, datetime, timedelta

import pytest

from broker.circuits import LASTING, LONGEST_WINDOW, Circuit, Phase, asked_pause, is_up
from broker.deliveries import Outcome, Reason, Result

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def opened():
    circuit = Circuit()
    for _ in range(20):
        circuit.fail(NOW, probe=False, rng=Latest())
    return circuit


class Latest(random.Random):
    """Chance that makes everything last as long as it may."""

    def random(self):
        return 1.0


@pytest.mark.parametrize(
    ("result", "up"),
    [
        (Result(outcome=Outcome.SUCCEEDED, status=200), True),
        (Result(outcome=Outcome.REFUSED, status=302), True),
        (Result(outcome=Outcome.REFUSED, status=404), True),
        (Result(outcome=Outcome.GONE, status=410), True),
        (Result(outcome=Outcome.THROTTLED, status=429), False),
        (Result(outcome=Outcome.REFUSED, status=500), False),
        (Result(outcome=Outcome.THROTTLED, status=503), False),
        (Result(outcome=Outcome.TIMED_OUT), False),
        (Result(outcome=Outcome.UNREACHABLE), False),
        (Result(outcome=Outcome.FORBIDDEN), None),
        (Result(outcome=Outcome.FAILED), None),
    ],
)
def test_what_a_result_says_of_the_target(result, up):
    assert is_up(result) is up


def test_a_circuit_opens_with_the_twentieth_failure():
    circuit = Circuit()
    assert [circuit.fail(NOW, probe=False) for _ in range(20)] == [False] * 19 + [True]
    assert circuit.phase(NOW - SECOND) is Phase.OPEN


def test_a_lasting_circuit_is_open_for_the_longest_and_one_that_opened_less_often_is_not():
    circuit, windows = opened(), []
    while circuit.openings < LASTING:
        windows.append(circuit.retry_at - NOW)
        circuit.fail(NOW, probe=True, rng=Latest())
    assert circuit.retry_at - NOW == LONGEST_WINDOW > windows[-1]


def test_an_open_circuit_lets_nobody_pass():
    circuit = opened()
    assert not circuit.lets_pass(NOW)
    assert not circuit.lets_pass(NOW + 2 * SECOND - timedelta.resolution)
    assert circuit.lets_pass(NOW + 2 * SECOND)


def test_whatever_waited_for_a_circuit_that_opens_again_waits_for_it_again():
    circuit = Circuit(failures=19)
    circuit.fail(NOW, probe=False)
    assert circuit.is_awaited
    assert not Circuit(failures=5).fail(NOW, probe=False)
    circuit.is_awaited = False
    circuit.fail(NOW, probe=False)
    assert not circuit.is_awaited, "it was open all the time"
    circuit.fail(NOW + 3 * SECOND, probe=True)
    assert circuit.is_awaited


def test_a_half_open_circuit_lets_one_attempt_pass_at_a_time():
    circuit, later = opened(), NOW + 3 * SECOND
    assert circuit.phase(later) is Phase.HALF_OPEN
    assert circuit.lets_pass(later)
    circuit.begin_probe(later + 20 * SECOND)
    assert not circuit.lets_pass(later)
    assert circuit.lets_pass(later + 20 * SECOND), "whoever tried it was killed"


def test_a_probe_that_says_nothing_leaves_the_next_one_its_turn():
    circuit, later = opened(), NOW + 3 * SECOND
    circuit.begin_probe(later + 20 * SECOND)
    circuit.end_probe()
    assert circuit.lets_pass(later)


def test_windows_double_up_to_five_minutes():
    circuit, now, windows = opened(), NOW, []
    for _ in range(10):
        windows.append((circuit.retry_at - now).total_seconds())
        now = circuit.retry_at
        assert circuit.fail(now, probe=True, rng=Latest())
    assert windows == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_window_has_full_jitter():
    windows = set()
    for seed in range(100):
        circuit, rng = Circuit(failures=19), random.Random(seed)
        circuit.fail(NOW, probe=False, rng=rng)
        windows.add(circuit.retry_at - NOW)
    assert min(windows) < 0.2 * SECOND
    assert 1.8 * SECOND < max(windows) <= 2 * SECOND


def test_what_was_under_way_when_the_circuit_opened_does_not_keep_it_open():
    circuit = opened()
    assert not circuit.fail(NOW + SECOND, probe=False)
    assert circuit.retry_at == NOW + 2 * SECOND


def test_a_circuit_that_opened_endlessly_often_still_has_a_window():
    circuit = Circuit(failures=10**6, openings=10**6, retry_at=NOW)
    assert circuit.fail(NOW, probe=True, rng=Latest())
    assert circuit.retry_at == NOW + timedelta(minutes=5)


def test_a_circuit_is_half_open_from_the_moment_its_window_ends():
    circuit = Circuit(failures=20, openings=1, retry_at=NOW)
    assert circuit.phase(NOW - timedelta.resolution) is Phase.OPEN
    assert circuit.phase(NOW) is Phase.HALF_OPEN
    assert circuit.lets_pass(NOW)


@pytest.mark.parametrize(
    ("result", "pause"),
    [
        (Result(outcome=Outcome.THROTTLED, status=429, retry_after=60 * SECOND), 60 * SECOND),
        (Result(outcome=Outcome.THROTTLED, status=503, retry_after=timedelta(days=9)), timedelta(days=1)),
        (Result(outcome=Outcome.THROTTLED, status=429, retry_after=timedelta()), None),
        (Result(outcome=Outcome.THROTTLED, status=503), None),
        (Result(outcome=Outcome.THROTTLED, status=502, retry_after=SECOND), None),
        (Result(outcome=Outcome.REFUSED, status=301, retry_after=SECOND), None),
        (Result(outcome=Outcome.THROTTLED, retry_after=SECOND), None),
    ],
)
def test_a_429_or_503_may_ask_for_a_pause_of_all_requests(result, pause):
    assert asked_pause(result) == pause


def test_a_target_that_asks_for_a_pause_gets_it_and_is_then_tried_by_one_attempt():
    circuit = Circuit()
    assert circuit.fail(NOW, probe=False, asked=60 * SECOND)
    assert (circuit.phase(NOW), circuit.reason(NOW)) == (Phase.OPEN, Reason.THROTTLED)
    assert not circuit.lets_pass(NOW + 60 * SECOND - timedelta.resolution)
    later = NOW + 60 * SECOND
    assert (circuit.lets_pass(later), circuit.is_spared(later)) == (True, False)
    circuit.begin_probe(later + 20 * SECOND)
    assert not circuit.lets_pass(later)
    assert circuit.reason(later) is Reason.CIRCUIT


def test_the_longest_pause_that_was_asked_for_holds():
    circuit = Circuit()
    assert [circuit.fail(NOW, probe=False, asked=pause * SECOND) for pause in (5, 60, 9)] == [True, False, False]
    assert circuit.fail(NOW + SECOND, probe=False) is False
    assert circuit.retry_at == circuit.spared_until == NOW + 60 * SECOND


def test_a_target_that_asked_for_a_pause_and_then_fails_without_one_has_failed_like_any_other():
    circuit = Circuit()
    circuit.fail(NOW, probe=False, asked=SECOND)
    circuit.begin_probe(NOW + 20 * SECOND)
    assert not circuit.fail(NOW + 2 * SECOND, probe=True)
    assert circuit.phase(NOW + 2 * SECOND) is Phase.CLOSED
    assert circuit.lets_pass(NOW + 2 * SECOND)


def test_a_pause_does_not_shorten_the_window_of_a_target_that_fails_all_the_time():
    circuit = Circuit(failures=40, openings=8, retry_at=NOW)
    assert circuit.fail(NOW, probe=True, asked=SECOND, rng=Latest())
    assert (circuit.retry_at, circuit.spared_until) == (NOW + 300 * SECOND, NOW + SECOND)


def test_a_process_that_knows_nothing_of_pauses_does_not_shorten_one():
    """An older version writes its own window beside it."""
    circuit = Circuit(failures=20, openings=1, retry_at=NOW, spared_until=NOW + 60 * SECOND)
    assert not circuit.lets_pass(NOW + SECOND)
    assert circuit.lets_pass(NOW + 60 * SECOND)
