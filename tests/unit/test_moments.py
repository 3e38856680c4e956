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


LAST = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)


@pytest.mark.parametrize("moment", [LAST, LAST + timedelta(microseconds=1), datetime.max.replace(tzinfo=UTC)])
def test_the_last_millisecond_has_no_next_one(moment):
    assert next_millisecond(moment) == LAST


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T12:00:00Z", NOON),
        ("2026-11-22t12:00:00z", NOON),
        ("2026-11-22 12:00:00Z", NOON),
        ("2026-11-22T17:30:00+05:30", NOON),
        ("2026-11-22T12:00:00-00:00", NOON),
        ("2026-11-22T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-11-22T12:00:00.000001Z", NOON + timedelta(microseconds=1)),
        ("2026-11-22T12:00:00.000000000001Z", NOON + timedelta(microseconds=1)),
        ("2026-11-22T11:59:59.9999999Z", NOON),
        ("2026-11-22T12:00:00." + "0" * 5000 + "Z", NOON),
        ("2026-12-31T23:59:60Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31T15:59:60.5-08:00", datetime(2027, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("2027-01-01T05:29:60+05:30", datetime(2027, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime.min.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00+23:59", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59.9999Z", datetime(9999, 12, 31, 23, 59, 59, 999_900, tzinfo=UTC)),
        ("9999-12-31T23:59:59.9999999Z", datetime.max.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:60Z", datetime.max.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59-23:59", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_every_form_of_rfc_3339_is_read(text, moment):
    assert read_moment(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T12:00:00",
        "2026-11-22T12:00Z",
        "2026-11-22T12:00:00.Z",
        "2026-11-22T12:00:00,5Z",
        "2026-11-22T12:00:00+0100",
        "2026-11-22T12:00:00+24:00",
        "2026-11-22T12:00:00+05:60",
        "2026-11-22T24:00:00Z",
        "2026-11-22T12:00:61Z",
        "2026-11-22T12:00:60Z",
        "2026-11-22T23:59:60Z",
        "2026-12-31T23:59:60-08:00",
        "2027-02-29T12:00:00Z",
        "20261122T120000Z",
        "2026-W47-7T12:00:00Z",
        "\u0662\u0660\u0662\u0666-11-22T12:00:00Z",
        "2026-11-22T12:00:00Z\n",
    ],
)
def test_nothing_else_is_a_moment(text):
    with pytest.raises(ValueError, match=" is "):
        read_moment(text)
