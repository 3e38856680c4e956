from datetime import UTC, datetime, timedelta, timezone

import pytest

from broker.moments import next_millisecond, read_moment, show_moment

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22T12:00:00Z", "2026-11-22T12:00:00.000Z"),
        ("2026-11-22t17:30:00.1230000000000+05:30", "2026-11-22T12:00:00.123Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
        ("2016-12-31T15:59:60.75-08:00", "2017-01-01T00:00:00.000Z"),
        ("0000-02-29T12:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00+00:01", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:60Z", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_every_moment_of_rfc_3339_is_read(text, shown):
    moment = read_moment(text)
    assert (show_moment(moment), show_moment(next_millisecond(moment))) == (shown, shown)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T12:00:00",
        "2026-02-29T12:00:00Z",
        "0000-02-30T12:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T12:00:61Z",
        "2026-11-22 12:00:00Z",
        "2026-11-22T12:00:00+24:00",
        "\u0662026-11-22T12:00:00Z",
    ],
)
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        read_moment(text)
