import random
import re
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from broker.circuits import is_up
from broker.deliveries import Outcome, Result, delivery_id, parse_delivery_id
from broker.retries import DEFAULT_SCHEDULE, VERDICTS, Verdict, make_schedule, next_pause, outcome_of
from broker.schemas.deliveries import OutcomeName

DELIVERY = Path(__file__).parents[2] / "docs" / "delivery.md"
FAILED = Result(outcome=Outcome.REFUSED, status=500)


class Latest(random.Random):
    """Chance that makes every pause as long as it may be."""

    def random(self):
        return 1.0


def test_a_delivery_id_is_derived_and_can_be_read_again():
    assert delivery_id(42, 7) == "42-7"
    assert parse_delivery_id("42-7") == (42, 7)


@pytest.mark.parametrize(
    "text", ["", "42", "42-", "-7", "a-b", "42-7-1", "4 2-7", "٤-٢", "9223372036854775808-1", "+1-2"]
)
def test_what_is_not_a_delivery_id_is_refused(text):
    with pytest.raises(ValueError, match="is not a delivery id"):
        parse_delivery_id(text)


def test_the_default_schedule_gives_up_after_ten_attempts():
    assert next_pause(DEFAULT_SCHEDULE, 9, FAILED) is not None
    assert next_pause(DEFAULT_SCHEDULE, 10, FAILED) is None


def test_the_default_schedule_waits_from_five_seconds_to_a_day():
    pauses = [next_pause(DEFAULT_SCHEDULE, attempt, FAILED, rng=Latest()) for attempt in range(1, 10)]
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    assert pauses[:2] == [timedelta(seconds=5), timedelta(seconds=30)]
    assert pauses[2:5] == [2 * minute, 10 * minute, 30 * minute]
    assert pauses[5:] == [2 * hour, 6 * hour, 12 * hour, 24 * hour]


def test_pauses_have_full_jitter():
    schedule = (timedelta(seconds=100),)
    pauses = [next_pause(schedule, 1, FAILED, rng=random.Random(seed)).total_seconds() for seed in range(200)]
    assert 0 <= min(pauses) < 10
    assert 90 < max(pauses) <= 100


def test_a_receiver_that_asks_for_time_gets_it_but_at_most_a_day():
    schedule = (timedelta(seconds=1),)
    asked = Result(outcome=Outcome.THROTTLED, status=429, retry_after=timedelta(seconds=60))
    greedy = Result(outcome=Outcome.THROTTLED, status=429, retry_after=timedelta(days=60))
    assert next_pause(schedule, 1, asked) == timedelta(seconds=60)
    assert next_pause(schedule, 1, greedy) == timedelta(hours=24)


@pytest.mark.parametrize(
    ("status", "outcome", "verdict"),
    [
        (199, Outcome.REFUSED, Verdict.RETRIED),
        (200, Outcome.SUCCEEDED, Verdict.DELIVERED),
        (204, Outcome.SUCCEEDED, Verdict.DELIVERED),
        (299, Outcome.SUCCEEDED, Verdict.DELIVERED),
        (300, Outcome.REFUSED, Verdict.RETRIED),
        (301, Outcome.REFUSED, Verdict.RETRIED),
        (307, Outcome.REFUSED, Verdict.RETRIED),
        (400, Outcome.REFUSED, Verdict.RETRIED),
        (404, Outcome.REFUSED, Verdict.RETRIED),
        (410, Outcome.GONE, Verdict.DISABLED),
        (429, Outcome.THROTTLED, Verdict.SPARED),
        (500, Outcome.REFUSED, Verdict.RETRIED),
        (502, Outcome.THROTTLED, Verdict.SPARED),
        (503, Outcome.THROTTLED, Verdict.SPARED),
        (504, Outcome.THROTTLED, Verdict.SPARED),
        (599, Outcome.REFUSED, Verdict.RETRIED),
    ],
)
def test_what_an_answer_makes_of_the_delivery(status, outcome, verdict):
    assert outcome_of(status) is outcome
    assert VERDICTS[outcome] is verdict


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome.TIMED_OUT, Verdict.SPARED),
        (Outcome.UNREACHABLE, Verdict.RETRIED),
        (Outcome.FORBIDDEN, Verdict.RETRIED),
        (Outcome.UNROUTABLE, Verdict.RETRIED),
        (Outcome.FAILED, Verdict.RETRIED),
        (Outcome.GIVEN_UP, Verdict.GIVEN_UP),
    ],
)
def test_what_no_answer_makes_of_the_delivery(outcome, verdict):
    assert VERDICTS[outcome] is verdict


def test_every_outcome_of_an_attempt_that_ended_has_a_verdict():
    assert VERDICTS.keys() == set(Outcome) - {Outcome.INTERRUPTED}


def test_every_outcome_can_be_asked_for():
    assert set(get_args(OutcomeName)) == {outcome.value for outcome in Outcome}


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.TIMED_OUT])
def test_an_overloaded_receiver_is_left_alone_for_the_whole_pause_and_up_to_twice_of_it(outcome):
    schedule = (timedelta(seconds=100),)
    result = Result(outcome=outcome)
    pauses = [next_pause(schedule, 1, result, rng=random.Random(seed)).total_seconds() for seed in range(200)]
    assert 100 <= min(pauses) < 110
    assert 190 < max(pauses) <= 200


def test_the_documentation_s_table_says_what_an_answer_means():
    """Each row by a status of it: its outcome, what then, and whether the target is up."""
    then = {Verdict.DELIVERED: "delivered", Verdict.DISABLED: "dead", Verdict.RETRIED: "another attempt"}
    rows = re.findall(
        r"^\| ([1-5][0-9x, ]+)[^|]*\| `(\w+)` \| ([^|]*) \| (up|down) \|$", DELIVERY.read_text(), re.MULTILINE
    )
    assert [answer for answer, *_ in rows] == ["2xx, ", "3xx", "410 ", "429 ", "4xx ", "502, 503, 504 ", "5xx "]
    for answers, outcome, what, target in rows:
        for answer in filter(None, answers.replace(" ", "").split(",")):
            status = int(answer.replace("xx", "01"))
            assert outcome_of(status) == outcome
            verdict = VERDICTS[outcome_of(status)]
            assert what.startswith(then.get(verdict, "another attempt, later"))
            assert what.endswith("later") is (verdict is Verdict.SPARED)
            assert is_up(Result(outcome=outcome_of(status), status=status)) is (target == "up")


def test_the_documentation_s_table_says_what_becomes_of_every_outcome():
    then = {
        Verdict.DELIVERED: "delivered",
        Verdict.GIVEN_UP: "dead",
        Verdict.DISABLED: "dead; the subscription is disabled, and all else that it is owed is dead",
        Verdict.RETRIED: "another attempt",
        Verdict.SPARED: "another attempt, later",
    }
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| ([^|]*) \| [a-z ]*\|$", DELIVERY.read_text(), re.MULTILINE)
    assert {(outcome, what) for outcome, what in rows} == {
        *((outcome.value, then[verdict]) for outcome, verdict in VERDICTS.items()),
        (Outcome.INTERRUPTED.value, "another attempt, at once and uncounted"),
    }


@pytest.mark.parametrize(
    ("pauses", "max_attempts", "schedule"),
    [
        ((1, 2, 3), None, (1, 2, 3)),
        ((1, 2, 3), 4, (1, 2, 3)),
        ((1, 2, 3), 3, (1, 2)),
        ((1, 2, 3), 1, ()),
        ((1, 2), 6, (1, 2, 2, 2, 2)),
        ((), None, ()),
    ],
)
def test_a_number_of_attempts_cuts_the_pauses_short_or_repeats_the_last_one(pauses, max_attempts, schedule):
    made = make_schedule([timedelta(seconds=seconds) for seconds in pauses], max_attempts)
    assert made == tuple(timedelta(seconds=seconds) for seconds in schedule)


def test_several_attempts_need_a_pause_between_them():
    assert make_schedule([], 1) == ()
    with pytest.raises(ValueError, match="must be 1 if the schedule is empty"):
        make_schedule([], 2)


def test_without_pauses_the_default_schedule_is_cut_short_or_goes_on():
    assert make_schedule(None, None) == DEFAULT_SCHEDULE
    assert make_schedule(None, 3) == DEFAULT_SCHEDULE[:2]
    assert make_schedule(None, 12) == (*DEFAULT_SCHEDULE, timedelta(days=1), timedelta(days=1))


@pytest.mark.parametrize("text", ["9223372036854775807-1", "1-9223372036854775807"])
def test_an_id_of_a_delivery_may_be_as_large_as_the_store_can_keep(text):
    assert delivery_id(*parse_delivery_id(text)) == text
