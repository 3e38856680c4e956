from datetime import UTC, datetime, timedelta, timezone

import pytest

from broker.moments import next_millisecond, show_moment

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2026-11-22T12:00:00.000Z"),
        (NOON + timedelta(microseconds=123_999), "2026-11-22T12:00:00.123Z"),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), "2026-11-22T12:00:00.000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_moment_is_shown_in_utc_with_milliseconds(moment, text):
    assert show_moment(moment) == text


@pytest.mark.parametrize(("microseconds", "later"), [(0, 0), (1, 1000), (1000, 1000), (999_001, 1_000_000)])
def test_a_moment_is_rounded_up_to_a_millisecond(microseconds, later):
    assert next_millisecond(NOON + timedelta(microseconds=microseconds)) == NOON + timedelta(microseconds=later)
