import random
from datetime import timedelta

import pytest

from broker.deliveries import DEFAULT_SCHEDULE, Outcome, Result, delivery_id, next_pause, parse_delivery_id

FAILED = Result(outcome=Outcome.REFUSED, status=500)


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
